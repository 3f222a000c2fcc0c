"""Tests of the documents and of what is installed."""
