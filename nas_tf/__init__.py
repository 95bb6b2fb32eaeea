"""Latency-constrained architecture search and the float network."""

import sys

from nas_tf.base import neighbours

# Here, since commands import `flags` in their first lines.
neighbours.end_if_hidden(sys.orig_argv)
