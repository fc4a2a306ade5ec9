"""Proxies of the network without any pass: sizes, wiring, places of nodes."""
