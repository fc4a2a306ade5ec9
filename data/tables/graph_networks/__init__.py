"""Sets of graph neural networks."""
