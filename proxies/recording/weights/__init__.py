"""The weights that a network applies, whatever it computes them from."""
