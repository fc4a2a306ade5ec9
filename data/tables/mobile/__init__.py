"""Sets of mobile networks."""
