"""Plain data: operations, search spaces, architectures, and what they cost. Imports no TensorFlow."""
