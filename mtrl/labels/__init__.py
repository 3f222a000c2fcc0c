"""Names and labels of images: read in order from any kind of sequence, and compared exactly."""
