"""The version of archrank: a leaf module that every room may import."""

VERSION = "0.1.0"
