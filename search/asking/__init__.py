"""The search with a predictor: ask what to measure, then tell the results."""
