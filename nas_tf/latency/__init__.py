"""Latency tables: their keys, how they are measured, and how well they predict."""
