"""Passes over a network, and the signals that they record."""
