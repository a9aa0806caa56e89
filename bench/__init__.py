"""Benchmarks against baselines in the same run, and load tests: `make bench`, `make load`.

Belongs here: what is timed, and what it is compared with. Does not: anything that the service needs.
"""
