"""Tests of `mtrl.video`."""
