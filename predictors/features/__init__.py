"""What a graph says in numbers without learning: statistics, counts, distances, evidence."""
