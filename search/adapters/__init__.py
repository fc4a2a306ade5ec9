"""Adapters to tools of others: Optuna, pymoo, Ray Tune, scikit-learn."""
