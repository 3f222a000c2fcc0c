"""Tests of `mtrl.files`."""
