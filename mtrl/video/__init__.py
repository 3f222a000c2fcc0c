"""From cameras to images of people: frames of a video, boxes of a tracker, crops."""

from mtrl.video.frames import Frame, iter_frames

__all__ = ["Frame", "iter_frames"]
