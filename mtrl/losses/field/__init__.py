"""Losses of other systems of the field, one file each, written from the formulas of their papers."""
