"""Byte transports: serial port, MLLP listener."""
