"""Tests of `mtrl.server`."""
