"""Sets of networks that repeat a cell, and of the spaces around them."""
