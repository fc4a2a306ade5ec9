"""The embedded benchmark's space: ten families of small networks for 8x8 digits."""
