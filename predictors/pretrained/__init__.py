"""The predictors that are shipped: how they are made, and how they judge new families."""
