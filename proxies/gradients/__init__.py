"""Proxies of gradients and of changes of weights."""
