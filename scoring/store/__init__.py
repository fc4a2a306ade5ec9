"""The store of long runs."""

from .scores import FORMAT, Failure, Store

__all__ = ["FORMAT", "Failure", "Store"]
