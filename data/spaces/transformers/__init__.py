"""Spaces of transformers, with a choice of depth, width, heads and operations."""
