"""What it costs: each ``bench_*`` module prints its own table and exits 0 when it met its budget."""
