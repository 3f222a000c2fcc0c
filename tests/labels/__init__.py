"""Tests of `mtrl.labels`."""
