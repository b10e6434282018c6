"""One module per queue: it binds the processors to their clients and states the jobs' defaults."""
