"""Tests of `mtrl.console`."""
