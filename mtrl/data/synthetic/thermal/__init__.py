"""Thermal images: how warm bodies, clothes, things and places are, and what a thermal camera makes of it."""
