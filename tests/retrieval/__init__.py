"""Tests of `mtrl.retrieval`."""
