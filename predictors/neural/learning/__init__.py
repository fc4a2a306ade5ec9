"""How networks are trained: plans, runs that go on, seeds, scales of labels, kept weights."""
