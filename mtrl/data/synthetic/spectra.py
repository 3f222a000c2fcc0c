"""Near-infrared and thermal: which of them an infrared image is."""

from __future__ import annotations

SPECTRA = ("nir", "thermal", "both")
"""Of a set's infrared images: near-infrared under the camera's own lamp, thermal, or some of each."""

SPECTRUM_HELP = "of the synthetic data set's infrared images: near-infrared, thermal, or both in turn"


def is_thermal(spectrum: str, camera: int, shot: int) -> bool:
    """Whether the infrared image of `shot` (0, 1, ...) by `camera` is thermal, in a data set of this spectrum.

    "nir": never. "thermal": always. "both": a camera's shots alternate; even cameras begin with thermal. As the
    infrared cameras are 3 and 6, every identity then has both kinds, even with one shot per camera. Raises
    ValueError for a spectrum that is not in `SPECTRA`.
    """
    if spectrum not in SPECTRA:
        raise ValueError(f"spectrum must be one of {', '.join(SPECTRA)}, not {spectrum!r}")
    return (camera + shot) % 2 == 0 if spectrum == "both" else spectrum == "thermal"
