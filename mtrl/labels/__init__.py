"""Names and labels of images, as callers give them: read by position, compared exactly."""
