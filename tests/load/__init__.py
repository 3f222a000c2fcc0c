"""Load and stress tests of the page; no part of the package."""
