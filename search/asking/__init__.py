"""Ask for what to measure, tell what came out: the search with a predictor."""
