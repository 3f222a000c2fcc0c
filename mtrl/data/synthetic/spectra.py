"""Near-infrared and thermal: which of them an infrared image is."""

from __future__ import annotations

SPECTRA = ("nir", "thermal", "both")
"""Of a set's infrared images: near-infrared under the camera's own lamp, thermal, or some of each."""

SPECTRUM_HELP = "of the synthetic data set's infrared images: near-infrared, thermal, or both in turn"


def is_thermal(spectrum: str, camera: int, shot: int) -> bool:
    """Whether the infrared image of a shot (0, 1, ...) is a thermal one, in a set of a spectrum of `SPECTRA`.

    In "both" the shots of a camera alternate; cameras of even number begin with thermal. So every identity has infrared
    images of both kinds, even where each of the two infrared cameras takes one shot. Raises ValueError for another
    spectrum.
    """
    if spectrum not in SPECTRA:
        raise ValueError(f"spectrum must be one of {', '.join(SPECTRA)}, not {spectrum!r}")
    return (camera + shot) % 2 == 0 if spectrum == "both" else spectrum == "thermal"
