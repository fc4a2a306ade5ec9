"""The predictor that is shipped: how it is made, and what it knows of new families."""
