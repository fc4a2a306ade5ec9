"""Spaces of cells: a small graph of operators, repeated."""
