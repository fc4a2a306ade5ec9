"""Adapters to other tools: Optuna, pymoo, Ray Tune, scikit-learn."""
