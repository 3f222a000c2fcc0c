"""Modality-transition representation learning for visible-infrared person re-identification."""

from mtrl.models.load import load_pretrained
from mtrl.models.reid import MTRL
from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.match import Match

__all__ = ["MTRL", "Gallery", "Match", "load_pretrained"]
