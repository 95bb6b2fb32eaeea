"""The float network: its layers, how they are put together, its loss, its folder on disk."""
