"""Benchmarks, one command each: `python -m tests.bench.link_time` and so on.

They print tables for people; nothing here asserts a time, so nothing here flakes."""
