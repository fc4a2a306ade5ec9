"""Training of networks: plans, resumable runs, seeds, scales of labels, and saved weights."""
