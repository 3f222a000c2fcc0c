"""Measures of a visible-to-infrared translator, one file each."""
