"""What log-processing does to files and lines: archive, clean, parse, count. Speaks to no queue."""
