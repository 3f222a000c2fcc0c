"""Pictures of the data set for people: the contact sheet and the demo gallery."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mtrl.data.synthetic.cameras import ALL_CAMERAS, CAMERAS, INFRARED_CAMERAS, VISIBLE_CAMERAS
from mtrl.data.synthetic.dataset import FIRST_IDENTITY
from mtrl.data.synthetic.difficulty import HEIGHT, WIDTH, Difficulty
from mtrl.data.synthetic.render import draw_person, render
from mtrl.data.synthetic.spectra import is_thermal

GALLERY_BYTES = 4_000_000


def contact_sheet(
    domain: str = "test",
    seed: int = 0,
    people: int = 8,
    difficulty: Difficulty | None = None,
    spectrum: str = "nir",
) -> Image.Image:
    """Rows are people, columns cameras: visible with the same instant in infrared, then the infrared cameras."""
    columns = [(camera, infrared) for camera in VISIBLE_CAMERAS for infrared in (False, True)]
    columns += [(camera, True) for camera in INFRARED_CAMERAS]
    left, top, gap = 44, 34, 4
    sheet = Image.new(
        "RGB", (left + len(columns) * (WIDTH + gap), top + people * (HEIGHT + gap)), (255, 255, 255)
    )
    pen = ImageDraw.Draw(sheet)
    for column, (camera, infrared) in enumerate(columns):
        x = left + column * (WIDTH + gap)
        what = "infrared" if infrared else "visible"
        if infrared and camera in VISIBLE_CAMERAS:
            what = "same instant, IR"
        pen.text((x + 4, 4), f"camera {camera}", fill=(0, 0, 0))
        pen.text((x + 4, 17), what, fill=(90, 90, 90))
    for row in range(people):
        person = draw_person(domain, seed, row, difficulty)
        y = top + row * (HEIGHT + gap)
        pen.text((6, y + 4), f"{row + FIRST_IDENTITY[domain]:04d}", fill=(0, 0, 0))
        for column, (camera, infrared) in enumerate(columns):
            picture = Image.fromarray(render(person, camera, 0, infrared, spectrum))
            sheet.paste(picture, (left + column * (WIDTH + gap), y))
    return sheet


def write_gallery(
    folder: str | Path, people: int = 60, with_truth: int = 12, test_seed: int = 0, spectrum: str = "nir"
) -> int:
    """The demo gallery: one JPEG per test person and camera, `truth/` for the first people, manifest.json.

    The folder must not exist or be empty; it appears complete or not at all. The quality falls until all files
    together are at most 4 MB. Returns the number of images in the manifest.
    """
    target = Path(folder)
    if target.exists() and any(target.iterdir()):
        raise ValueError(f"{target} is not empty; name a new folder for the gallery")
    target.parent.mkdir(parents=True, exist_ok=True)
    entries, pictures = _gallery_pictures(people, with_truth, test_seed, spectrum)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        (work / "truth").mkdir()
        for quality in (88, 82, 76, 70, 60):
            for name, picture in pictures.items():
                save_jpeg(picture, work / name, quality)
            if sum(path.stat().st_size for path in work.rglob("*.jpg")) <= GALLERY_BYTES:
                break
        (work / "manifest.json").write_text(json.dumps(entries, indent=1), encoding="utf-8")
        work.chmod(0o755)
        if target.exists():
            target.rmdir()
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return len(entries)


def _gallery_pictures(
    people: int, with_truth: int, test_seed: int, spectrum: str
) -> tuple[list[dict], dict[str, NDArray[np.uint8]]]:
    entries: list[dict] = []
    pictures: dict[str, NDArray[np.uint8]] = {}
    for number in range(people):
        person = draw_person("test", test_seed, number)
        identity = number + FIRST_IDENTITY["test"]
        for camera in ALL_CAMERAS:
            name, truth = f"{identity:04d}_cam{camera}.jpg", None
            pictures[name] = render(person, camera, 0, spectrum=spectrum)
            if number < with_truth and not CAMERAS[camera].infrared:
                truth = f"truth/{name}"
                pictures[truth] = render(person, camera, 0, infrared=True, spectrum=spectrum)
            entries.append(
                {
                    "file": name,
                    "identity": identity,
                    "camera": camera,
                    "modality": CAMERAS[camera].modality.name.lower(),
                    "truth": truth,
                    "spectrum": _spectrum_name(spectrum, camera),
                }
            )
    return entries, pictures


def _spectrum_name(spectrum: str, camera: int) -> str | None:
    """What a gallery says of a camera's first image: "nir" or "thermal"; None for a visible one."""
    if not CAMERAS[camera].infrared:
        return None
    return "thermal" if is_thermal(spectrum, camera, 0) else "nir"


def save_jpeg(picture: NDArray[np.uint8], path: Path, quality: int = 92) -> None:
    """Writes uint8 [H, W, 3] as a three-channel JPEG."""
    Image.fromarray(picture).save(path, "JPEG", quality=quality, optimize=True)
