"""The memory that a network needs for inference and training, from its graph alone."""

from .peaks import Memory, inference_memory, largest_batch, training_memory

__all__ = ["Memory", "inference_memory", "largest_batch", "training_memory"]
