"""Tests of `mtrl.hub`."""
