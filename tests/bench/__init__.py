"""Benchmarks: `python -m tests.bench` lists them.

They print tables for people. Nothing here asserts a time, so nothing here flakes."""
