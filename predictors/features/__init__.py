"""Features of graphs that need no learning: statistics, counts, distances, evidence."""
