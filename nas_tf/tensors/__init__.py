"""Keras layers, the compact network, and the supernet."""
