"""The network: its configuration, parts, checkpoints and cards."""
