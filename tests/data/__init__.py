"""Tests of `mtrl.data`."""
