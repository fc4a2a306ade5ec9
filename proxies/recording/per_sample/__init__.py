"""Gradients of each sample by itself, without a loop over samples."""
