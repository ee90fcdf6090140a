"""One module for each simulated device; its `DEVICE` is what the command line knows of it."""
