"""Latency-constrained architecture search and the float network."""
