"""Proxies that read the outputs of layers."""
