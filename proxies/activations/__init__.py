"""Proxies of what the layers of a network put out."""
