"""A demo gallery on disk: images of people in a folder, or an index that `python -m mtrl index` made of them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtrl.files.filenames import as_text, file_named
from mtrl.files.levels import ValueRange
from mtrl.files.scan import PassedOver, Scan, report, scan
from mtrl.files.text import read_text
from mtrl.labels.names import canonical, check_integer
from mtrl.models.config import Modality
from mtrl.models.reid import MTRL
from mtrl.retrieval.filters import Filter
from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.image_folders import image_folders
from mtrl.retrieval.stores.milvus import is_milvus

MANIFEST = "manifest.json"
SAME = 0.999  # a cosine that an image has to itself, and hardly another one
INDEX = "gallery.json"
SPECTRUM_NAMES = {"nir": "near-infrared", "thermal": "thermal"}
"""What a manifest may say of an infrared image, and how the page calls it."""


@dataclasses.dataclass(frozen=True)
class GalleryImage:
    """One image of a gallery. `identity`, `camera` and `truth` (the aligned true infrared view) may be unknown.

    `identity` is the person's name as the gallery writes it, to be shown; `person` is compared.
    `spectrum` of an infrared image: "nir", "thermal", or None where the gallery does not say; of others None.
    """

    name: str
    path: Path
    modality: Modality
    identity: int | str | None = None
    camera: int | None = None
    truth: Path | None = None
    spectrum: str | None = None

    @property
    def person(self) -> str | None:
        """Equal for two images of one person: identities are compared as text, as searches of a gallery do."""
        return None if self.identity is None else canonical(str(self.identity))


def read_gallery(folder: Path) -> list[GalleryImage]:
    """The images of `scan_gallery`."""
    return scan_gallery(folder)[0]


def scan_gallery(folder: Path, public: bool = False) -> tuple[list[GalleryImage], Scan]:
    """The images of a gallery folder, in its own order, and what was passed over.

    The folder holds either `manifest.json`, a list of {"file", "identity", "camera", "modality", "truth",
    "spectrum"}, or two sub-folders `visible` and `infrared` of images; a level of folders below them names the
    people. An index made by `python -m mtrl index` lists images of one spectrum, which may have been moved away since.
    Links are followed; on a `public` page those that lead out of the folder are passed over.
    Raises FileNotFoundError or ValueError that say what is missing.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no gallery folder at {as_text(folder)}; `python -m mtrl synth --gallery DIR` draws one"
        )
    if is_index(folder):
        return _from_index(folder), Scan()
    if is_milvus(folder):
        raise ValueError(
            f"{as_text(folder)} is a Milvus index, which the page does not read: make one of its pictures without "
            "--store milvus"
        )
    manifest = folder / MANIFEST
    images, found = _from_manifest(manifest) if manifest.is_file() else _from_folders(folder, public)
    for modality in Modality:
        if not any(image.modality is modality for image in images):
            left_out = "".join(f"; {line}" for line in [*found.errors, *report(found.passed_over)])
            raise ValueError(
                f"the gallery {as_text(folder)} has no {modality.name.lower()} pictures; it needs {MANIFEST}, or "
                f"pictures in the sub-folders visible and infrared{left_out}"
            )
    return images, found


def is_index(folder: Path) -> bool:
    """Whether the folder is an index, whose embeddings are there already, in the order of its images."""
    return (folder / INDEX).is_file()


def images_of_index(folder: Path) -> Gallery:
    """The entries of an index that are images: those of tracks, which have no picture, are left out."""
    index = Gallery.load(folder)
    return index if index.tracks is None else index.select(Filter(only="images").rows(index).tolist())


def read_index(folder: Path, model: MTRL) -> tuple[dict[Modality, Tensor], ValueRange | None]:
    """(features float32 [N,D] of each modality, in the index's order; the value range of deep images).

    Raises ValueError for an index of another model.
    """
    index = images_of_index(folder)
    index.check_model(model)
    features = index.features.float()  # float32 is not copied: it may be mapped from a large file
    if index.modality is not None:
        empty = torch.empty(0, features.shape[1])
        return {kind: features if kind is index.modality else empty for kind in Modality}, index.value_range
    rows = {kind: Filter(modalities=(kind,)).rows(index) for kind in Modality}
    return {kind: features[torch.from_numpy(rows[kind])] for kind in Modality}, index.value_range


def alike(features: Tensor, feature: Tensor) -> list[int]:
    """The rows of `features` [N,D] that may be of the image that `feature` [D] is of, 50 at most."""
    rows: list[int] = torch.nonzero(features @ feature > SAME).flatten()[:50].tolist()
    return rows


def _from_index(folder: Path) -> list[GalleryImage]:
    index = images_of_index(folder)
    if not len(index):
        raise ValueError(f"the index {folder} holds no pictures")
    roots = [Path(source) for source in image_folders(folder)]
    identities = index.identities or (None,) * len(index)
    cameras = index.cameras or (None,) * len(index)
    labels = zip(index.names, index.spectra, identities, cameras, strict=True)
    return [
        GalleryImage(as_text(name), _place(folder, roots, name), modality, _label(identity), camera)
        for name, modality, identity, camera in labels
    ]


def _label(identity: int | str | None) -> int | str | None:
    return as_text(identity) if isinstance(identity, str) else identity


def _place(index: Path, roots: list[Path], name: str) -> Path:
    """Where the image of that name lies: below one of the roots, or in the index's own folder, links resolved.

    A path that does not exist for a name that leads elsewhere: the index may be a stranger's.
    """
    inside = [
        file_named(root, name)
        for root in roots
        if ".." not in Path(name).parts and (root / name).is_relative_to(root)
    ]
    if len(inside) == 1:
        return inside[0]
    with contextlib.suppress(OSError, ValueError):
        own = file_named(index, name)
        if own.resolve().is_relative_to(index.resolve()):
            inside.append(own)
    return next((path for path in inside if path.is_file()), index / INDEX / "not in this index")


def _from_manifest(manifest: Path) -> tuple[list[GalleryImage], Scan]:
    text = read_text(manifest)
    try:
        entries = json.loads(text)
    except RecursionError:
        raise ValueError(f"{manifest} is nested too deeply to be a list of pictures") from None
    except ValueError as error:
        raise ValueError(f"{manifest} is not valid JSON: {error}") from error
    if not isinstance(entries, list):
        raise ValueError(f"{manifest} must hold a list of pictures")
    found = Scan()
    images = [_image(entry, manifest, found) for entry in entries]
    return [image for image in images if image is not None], found


def _image(entry: Any, manifest: Path, found: Scan) -> GalleryImage | None:
    """The image of an entry; None for one whose file is not there."""
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str) or "modality" not in entry:
        raise ValueError(f'{manifest}: every entry needs "file" and "modality", not {str(entry)[:120]}')
    labels = {key: entry.get(key) for key in ("identity", "camera")}
    for key, value in labels.items():
        if isinstance(value, int) and not isinstance(value, bool):
            check_integer(value, f"{manifest}: {key} of {entry['file']}")
        elif value is not None and not (key == "identity" and isinstance(value, str) and value):
            what = "a name, a whole number" if key == "identity" else "a whole number"
            raise ValueError(f"{manifest}: {key} of {entry['file']} must be {what} or null")
    modality = Modality.parse(entry["modality"])
    spectra = SPECTRUM_NAMES if modality is Modality.INFRARED else ()
    if entry.get("spectrum") not in (None, *spectra):
        known = ", ".join([*(f'"{name}"' for name in spectra), "null"])
        kind = modality.name.lower()
        raise ValueError(f"{manifest}: spectrum of {entry['file']} must be {known}: it is {kind}")
    path = _inside(manifest.parent, entry["file"], found)
    truth = _inside(manifest.parent, str(entry["truth"]), found) if entry.get("truth") else None
    if path is None:
        return None
    return GalleryImage(
        name=as_text(entry["file"]),
        path=path,
        modality=modality,
        identity=_label(labels["identity"]),
        camera=labels["camera"],
        truth=truth,
        spectrum=entry.get("spectrum"),
    )


def _inside(folder: Path, name: str, found: Scan) -> Path | None:
    """The file that a manifest names; None, and a remark, where there is none. Raises ValueError for one outside."""
    path = file_named(folder, name)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{folder / MANIFEST}: {as_text(name)} lies outside the gallery folder")
    if path.is_file():
        return path
    found.passed_over.append(PassedOver(name, f"listed in {MANIFEST}, but there is no such file", image=True))
    return None


def _from_folders(folder: Path, public: bool) -> tuple[list[GalleryImage], Scan]:
    images: list[GalleryImage] = []
    whole = Scan()
    for modality in Modality:
        top = modality.name.lower()
        found = scan(folder, top, inside=public)
        whole.passed_over.extend(found.passed_over)
        whole.errors.extend(found.errors)
        for path in found.images:
            name = as_text(path)
            parts = name.split("/")[1:]
            identity = parts[0] if len(parts) > 1 else None
            images.append(GalleryImage(name, folder / path, modality, identity))
    return images, whole
