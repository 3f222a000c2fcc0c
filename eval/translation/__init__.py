"""Measures of translated and drawn infrared images, one file each."""
