"""Searches that propose one architecture at a time."""
