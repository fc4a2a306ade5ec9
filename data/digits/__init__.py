"""The embedded benchmark: small networks of ten families, really trained on hard digits.

``protocol.py`` defines the labels, ``label.py`` made them, and ``digits.parquet`` holds them.
"""
