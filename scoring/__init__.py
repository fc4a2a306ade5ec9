"""Many networks in, one row of scores for each: candidates, engines and the store."""
