"""Predictors that learn from tables of features."""
