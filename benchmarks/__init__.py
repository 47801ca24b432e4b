"""Throughput, latency and memory on real servers, the peers and the limit beside ours, in one run.

``python -m benchmarks --help``; ``python -m benchmarks.drain`` for the drain alone.
"""
