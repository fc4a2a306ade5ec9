"""What users give to trace and score: a model and its inputs."""
