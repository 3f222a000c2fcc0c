"""Tests of `mtrl.models`."""
