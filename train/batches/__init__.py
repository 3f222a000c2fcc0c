"""From rows of an image set to batches."""
