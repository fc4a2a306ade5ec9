"""Spaces of graph neural networks."""
