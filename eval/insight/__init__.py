"""`python -m eval insight`: figures of what a model has learned."""

from eval.insight.command import main

__all__ = ["main"]
