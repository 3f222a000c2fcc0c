"""Transition images on disk: the visible images of a set, translated once into an array that training reads.

The key of the array is a digest of the images and of the translator (weights, settings and code). So other images, or
another translator, get another array. For a translator class of your own without a fingerprint there is no such key:
its images are made anew for every run, in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from mtrl.data.array_cache import Pixels, Store, cache_root, open_or_make
from mtrl.data.code_digest import code_digest
from mtrl.data.decode import decode_images
from mtrl.data.imageset import ImageSet
from mtrl.files.filenames import expanded
from mtrl.files.image_limits import opened
from mtrl.files.images import upright_size
from mtrl.files.scan import scan
from mtrl.models.config import Modality
from mtrl.translate import Luminance, Translator
from mtrl.translate.files import fingerprint
from mtrl.translate.learned import Learned

BATCH = 32
_HASHED_ROWS = 256


def transition_images(
    images: ImageSet,
    translator: Translator,
    device: torch.device,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> NDArray[np.uint8]:
    """The transition images of a set: read-only uint8 [V,H,W,3], one per visible image, in order of their rows.

    translator  in evaluation mode
    Raises ValueError for a translator that draws at random, and OSError if the cache cannot be written.
    """
    if not translator.deterministic:
        raise ValueError(
            "a translator that draws at random gives other images each time: there is nothing to keep"
        )
    rows = images.rows(Modality.VISIBLE)

    def translated(start: int, stop: int) -> Generator[Pixels | str, None, None]:
        for first in range(start, stop, BATCH):
            part = rows[first : min(first + BATCH, stop)]
            yield from translate_pixels(images.images[part], translator, device)

    key, (height, width) = cache_key(images, translator), images.images.shape[1:3]
    if key is None:
        made = np.empty((len(rows), height, width, 3), np.uint8)
        for row, image in enumerate(translated(0, len(rows))):
            made[row] = image
        made.flags.writeable = False
        return made
    folder = cache_root(cache_dir) / "transitions"
    store = Store(folder, key, len(rows), (height, width), "transition images", progress)
    return open_or_make(store, translated)[0]


def read_transitions(
    images: ImageSet, folder: str | Path, cache_dir: str | Path | None = None
) -> NDArray[np.uint8]:
    """uint8 [V,H,W,3]: transition images that stand in a folder, in the order of the set's visible images.

    Errors as in `transition_files`, and ValueError for a file that cannot be decoded.
    """
    files = transition_files(images, folder)
    height, width = images.images.shape[1:3]
    pixels = decode_images(expanded(folder), files, (height, width), cache_dir, "transition images")
    if pixels.bad:
        raise ValueError(
            f"{len(pixels.bad)} transition images cannot be read: {next(iter(pixels.bad.values()))}"
        )
    return pixels.images


def transition_files(images: ImageSet, folder: str | Path, root: str | Path | None = None) -> list[str]:
    """The path below `folder` of each visible image's transition: that of the image, with any ending of an image.

    root  of the visible images: each transition must then be as large as its image, or as large as images are kept.
    Raises FileNotFoundError for a folder or an image that is missing, ValueError for sizes that differ.
    """
    base, names = expanded(folder), [images.names[row] for row in images.rows(Modality.VISIBLE)]
    if not base.is_dir():
        raise FileNotFoundError(f"{base} is no folder of transition images")
    files_of, images_of = _by_stem(scan(base).images), _by_stem(names)
    for stem, same in images_of.items():
        for twice in (same, files_of.get(stem, [])):
            if len(twice) > 1:
                raise ValueError(
                    f"{twice[0]} and {twice[1]} differ in their ending alone, and a transition is found by the path of "
                    "its image without the ending: rename one"
                )
    found = {name: next(iter(files_of.get(_stem(name), ())), None) for name in names}
    if missing := [name for name, file in found.items() if file is None]:
        raise FileNotFoundError(
            f"{base} lacks the transitions of {len(missing)} of {len(names)} visible training images, first "
            f"{missing[0]}: each stands at the path of its visible image below the data root"
        )
    files = [str(found[name]) for name in names]
    kept = images.images.shape[2], images.images.shape[1]
    top = expanded(root or ".")
    top = top.parent if top.is_file() else top  # a table's images lie beside it
    for name, file in zip(names, files, strict=True) if root is not None else ():
        size, original = _size(base / file), top / name
        whole = _size(original) if original.is_file() else kept
        if size not in (whole, kept):
            raise ValueError(
                f"{base / file} is {size[0]} x {size[1]} pixels and its visible image {whole[0]} x {whole[1]}: a "
                "transition must show the same pixels at the same place, so make it of the whole image"
            )
    return files


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _by_stem(names: Sequence[str]) -> dict[str, list[str]]:
    """The names by their path without the ending."""
    grouped: dict[str, list[str]] = {}
    for name in names:
        grouped.setdefault(_stem(name), []).append(name)
    return grouped


def _size(path: Path) -> tuple[int, int]:
    """(width, height) as the image is shown. Raises ValueError or OSError, with its name, for a file that is none."""
    with opened(path, str(path)) as image:
        return upright_size(image)


def cache_key(images: ImageSet, translator: Translator) -> str | None:
    """Twenty hex digits that change with the name or pixels of any visible image, and with the translator.

    None if the translator has no key (see `translator_key`).
    """
    known = translator_key(translator)
    if known is None:
        return None
    rows = images.rows(Modality.VISIBLE)
    digest = hashlib.sha256(f"{known} {images.images.shape[1:]} {len(rows)};".encode())
    for start in range(0, len(rows), _HASHED_ROWS):
        part = rows[start : start + _HASHED_ROWS]
        digest.update("\n".join(images.names[row] for row in part).encode("utf-8", "surrogateescape"))
        digest.update(np.ascontiguousarray(images.images[part]).data)
    return digest.hexdigest()[:20]


def translator_key(translator: Translator) -> str | None:
    """A text that differs between translators that give different images; None if there is no such text.

    For the translators of this package it is made of class, code and weights. A class of your own must define
    `fingerprint` itself; one that it inherits is not used, since it may not cover what the class changes. Raises
    ValueError if `fingerprint` gives no text.
    """
    kind = type(translator)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind in (Learned, Luminance) and "forward" not in vars(translator):
        weights = fingerprint(translator) if isinstance(translator, Learned) else "no weights"
        return f"{name} {code_digest(kind.__module__)} {weights}"
    if "fingerprint" not in vars(kind):
        return None
    text = vars(kind)["fingerprint"](translator)
    if not isinstance(text, str) or not text:
        raise ValueError(f"fingerprint() of the translator {name} must give a text, not {text!r}")
    return f"{name} {text}"


def translate_pixels(
    pixels: NDArray[np.uint8], translator: Translator, device: torch.device
) -> NDArray[np.uint8]:
    """Translates uint8 images [N,H,W,3] -> uint8 [N,H,W,3], rounded."""
    parts = []
    for start in range(0, len(pixels), BATCH):
        array = np.ascontiguousarray(pixels[start : start + BATCH])
        batch = torch.from_numpy(array).to(device).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            output = (255 * translator(batch)).round().clamp(0, 255).byte()
        parts.append(output.permute(0, 2, 3, 1).contiguous().cpu().numpy())
    return np.concatenate(parts)
