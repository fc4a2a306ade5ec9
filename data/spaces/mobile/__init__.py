"""Spaces of mobile networks, with a choice of blocks' kernels and widths and of depths."""
