"""Rows of many networks in, an ordered table out."""
