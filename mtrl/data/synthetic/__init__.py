"""Procedural pedestrians seen by six cameras: a visible-infrared data set that needs no download."""

from mtrl.data.synthetic.dataset import load, load_counts, load_part, truth
from mtrl.data.synthetic.difficulty import HEIGHT, SIZES, WIDTH, Difficulty
from mtrl.data.synthetic.render import Person, draw_person, render
from mtrl.data.synthetic.spectra import SPECTRA, SPECTRUM_HELP

__all__ = [
    "HEIGHT",
    "SIZES",
    "SPECTRA",
    "SPECTRUM_HELP",
    "WIDTH",
    "Difficulty",
    "Person",
    "draw_person",
    "load",
    "load_counts",
    "load_part",
    "render",
    "truth",
]
