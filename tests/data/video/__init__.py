"""Tests of `mtrl.data.video`."""
