"""What goes wrong, one module each: ``play(stage)`` tells it and returns what was claimed and measured."""
