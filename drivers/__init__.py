"""Device protocols as sans-IO drivers, and the thin transports that feed them."""
