"""Proxies that read gradients or change weights."""
