"""From cameras to images of people: frames of a video, boxes of a tracker, crops."""

from mtrl.video.boxes import Box, MotBoxes
from mtrl.video.crops import Crop, CropRules, iter_crops
from mtrl.video.frames import Frame, iter_frames

__all__ = ["Box", "Crop", "CropRules", "Frame", "MotBoxes", "iter_crops", "iter_frames"]
