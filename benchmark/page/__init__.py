"""The page of a benchmark: what it shows, its pictures, and the templates that it is made of."""
