"""The command ``archrank``, one file per command: each parses, calls and prints; no logic."""
