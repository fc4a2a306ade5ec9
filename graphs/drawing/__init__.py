"""Pictures of graphs as SVG: repeated stages folded, big models summarised by module."""

from .picture import draw

__all__ = ["draw"]
