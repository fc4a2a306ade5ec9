"""Sets of transformers."""
