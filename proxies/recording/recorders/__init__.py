"""Recorders: modes that look on while a network runs and keep little of what they see.

Each is a context manager around one forward; ``result()`` is the signal that it made.
"""
