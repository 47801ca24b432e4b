"""Hours of random faults on real servers: `python -m tests.soak --hours 0.167`."""
