"""Objectives of training encoders without labels, one file per kind."""
