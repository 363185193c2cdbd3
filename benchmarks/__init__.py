"""Benchmarks: one module a question, each against the peers that a user would pick instead. ``python -m benchmarks --help``."""
