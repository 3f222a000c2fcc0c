"""Tests of `mtrl.translate`."""
