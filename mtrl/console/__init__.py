"""Command lines: settings from flags and YAML files, progress, and readable errors."""
