"""Tests of `mtrl.losses`."""
