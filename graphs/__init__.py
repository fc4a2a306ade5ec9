"""From any ``nn.Module`` to a computation graph."""

from .assembly import Piece, assemble
from .graph import ATTRIBUTES, Graph, Node
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
