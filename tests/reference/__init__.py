"""What the tests compare with: slow loops, and `near-infrared`, a checkpoint that was shipped once."""
