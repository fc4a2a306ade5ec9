"""Spaces of convolutional networks of several paths, as GENNAPE's families."""
