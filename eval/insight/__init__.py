"""`python -m eval insight`: pictures of what a model has learned."""

from eval.insight.command import main

__all__ = ["main"]
