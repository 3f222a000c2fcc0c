"""Mutations, kills, damaged files."""
