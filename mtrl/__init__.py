"""Modality-transition representation learning for visible-infrared person re-identification."""

from mtrl.hub import load_pretrained
from mtrl.model import MTRL

__all__ = ["MTRL", "load_pretrained"]
