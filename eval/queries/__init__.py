"""What every query came to: a table on disk, and paired comparisons of two models."""
