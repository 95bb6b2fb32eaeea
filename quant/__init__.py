"""Fake quantization: scheme, ranges, fine-tuning, audit."""

import nas_tf as _nas_tf  # noqa: F401  (looks whether another package hides one of ours)

# By which nas_tf knows this package from others of its name (nas_tf/base/neighbours.py).
PART_OF = "nas_tf"
