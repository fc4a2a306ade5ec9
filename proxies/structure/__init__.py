"""Proxies that need no pass over the network: sizes, wiring, positions of nodes."""
