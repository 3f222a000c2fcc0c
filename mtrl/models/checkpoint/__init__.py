"""Saved networks: their files, the checks before they are loaded, and names without torch's wrappers."""
