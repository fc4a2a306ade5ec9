"""Graphs put together from pieces that were traced once."""

from .symbols import Piece, assemble

__all__ = ["Piece", "assemble"]
