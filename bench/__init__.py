"""Benchmarks against baselines, and the load test."""
