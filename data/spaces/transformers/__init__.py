"""Spaces of transformers: depth, width, heads and what each layer does."""
