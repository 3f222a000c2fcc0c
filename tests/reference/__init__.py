"""Slow loops that the tests compare with."""
