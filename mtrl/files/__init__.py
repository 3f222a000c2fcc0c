"""Reads and writes files: images, tables, tensors, locks. Knows nothing of models."""
