"""Frames of videos and crops of the people in them: the public names of `mtrl.data.video`."""

from mtrl.data.video import Box, Crop, CropRules, Frame, MotBoxes, iter_crops, iter_frames

__all__ = ["Box", "Crop", "CropRules", "Frame", "MotBoxes", "iter_crops", "iter_frames"]
