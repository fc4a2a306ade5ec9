"""The embedded benchmark: small networks of ten families, really trained on hard digits.

``protocol.py`` is what the labels mean, ``label.py`` made them, ``digits.parquet`` holds them.
"""
