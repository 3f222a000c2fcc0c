"""Tests of `mtrl.commands.service`."""
