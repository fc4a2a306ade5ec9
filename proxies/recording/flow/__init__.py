"""Synaptic flow, and the numbers of any size that it needs in deep networks."""
