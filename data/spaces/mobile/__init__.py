"""Spaces of mobile networks: what is chosen is each block's kernel, width and depth."""
