"""Computation graphs of any ``nn.Module``."""

from .arrays import ATTRIBUTES, Node
from .assembly import Piece, assemble
from .graph import Graph
from .operators import CANONICAL, Vocabulary, vocabulary
from .tracing import trace

__all__ = [
    "ATTRIBUTES",
    "CANONICAL",
    "Graph",
    "Node",
    "Piece",
    "Vocabulary",
    "assemble",
    "trace",
    "vocabulary",
]
