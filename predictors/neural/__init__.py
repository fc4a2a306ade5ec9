"""Predictors that are neural networks: encoders, losses, training, GENNAPE, ParZC."""
