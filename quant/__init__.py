"""Fake quantization: scheme, ranges, fine-tuning, audit."""
