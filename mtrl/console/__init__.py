"""Command lines: settings from flags and YAML, progress, and errors in words."""
