"""The precision of numbers: which type they have, and which of them are rounding alone."""
