"""Which part of a tensor belongs to which sample."""
