"""Simulated devices that speak the real protocols; shares no code with the drivers."""
