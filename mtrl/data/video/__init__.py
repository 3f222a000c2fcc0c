"""From cameras to images of people: frames of a video, boxes of a tracker, crops."""

from mtrl.data.video.boxes import Box, MotBoxes
from mtrl.data.video.crops import Crop, CropRules, iter_crops
from mtrl.data.video.frames import Frame, iter_frames

__all__ = ["Box", "Crop", "CropRules", "Frame", "MotBoxes", "iter_crops", "iter_frames"]
