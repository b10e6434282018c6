"""Pictures in memory: read within limits, worked on, written. Opens no file; only the worker loads it, for Pillow."""
