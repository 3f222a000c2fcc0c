"""Answers of the service as HTML and SVG."""
