"""Writes an ImageSet pair as the directory trees of SYSU-MM01, RegDB and LLCM, for code made for those."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from mtrl.data.imageset import ReIDData
from mtrl.data.matfiles import PERMUTATIONS, TEST_IDS, write_permutations, write_test_ids
from mtrl.data.synthetic.sheet import save_jpeg
from mtrl.models.config import Modality

REGDB_TRIALS = 10
_REGDB_NAMES = {Modality.VISIBLE: ("Visible", "v"), Modality.INFRARED: ("Thermal", "t")}
REGDB_IMAGES = 10  # of each identity in each spectrum
REGDB_SHOTS = (3, 5)  # images per (visible, infrared) camera: four and two cameras give at least ten each
_LLCM_CAMERA = {1: 1, 2: 2, 4: 4, 5: 5, 3: 2, 6: 5}
"""A camera of LLCM takes both spectra, and its protocol skips what a query's own camera took. So the infrared cameras
get numbers of visible ones: camera 3 that of camera 2, in whose room it stands."""


def export(
    data: ReIDData,
    folder: str | Path,
    layout: str,
    held_out: int = 60,
    permutations: Path | None = None,
) -> int:
    """Writes `data` to a new `folder` in a layout ("sysu" | "regdb" | "llcm"); returns the number of images.

    held_out      training identities that become SYSU-MM01's validation identities (at most a quarter)
    permutations  a rand_perm_cam.mat that fits the test set, for layout "sysu"; None: one is made by chance
    The folder appears complete or not at all. Raises ValueError where it exists and is not empty, or where RegDB's
    ten images of each spectrum cannot be had.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{target} exists and is not an empty folder; name a new one")
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        count = LAYOUTS[layout](data, work, held_out)
        if layout == "sysu":
            _official_files(data, work / "exp", permutations)
        work.chmod(0o755)
        if target.exists():
            target.rmdir()
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return count


def _sysu(data: ReIDData, root: Path, held_out: int) -> int:
    """cam1..cam6/<id>/<frame>.jpg and exp/{train,val,test,available}_id.txt, each one comma-separated line."""
    for camera in range(1, 7):
        (root / f"cam{camera}").mkdir()
    for part in (data.train, data.test):
        for image, name in zip(part.images, part.names, strict=True):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            save_jpeg(image, path)
    train, test = (sorted(set(part.identities.tolist())) for part in (data.train, data.test))
    held_out = min(held_out, len(train) // 4)
    lists = {
        "train": train[: len(train) - held_out],
        "val": train[len(train) - held_out :],
        "test": test,
        "available": sorted(train + test),
    }
    (root / "exp").mkdir()
    for name, identities in lists.items():
        (root / "exp" / f"{name}_id.txt").write_text(",".join(map(str, identities)) + "\n", encoding="ascii")
    return len(data.train) + len(data.test)


def _official_files(data: ReIDData, folder: Path, permutations: Path | None) -> None:
    """test_id.mat and rand_perm_cam.mat of the official evaluation; none of them where SciPy is not installed."""
    if importlib.util.find_spec("scipy") is None:
        return
    write_test_ids(folder / TEST_IDS, sorted(set(data.test.identities.tolist())))
    if permutations is not None:
        shutil.copyfile(permutations, folder / PERMUTATIONS)
        return
    labels = zip(data.test.cameras.tolist(), data.test.identities.tolist(), strict=True)
    write_permutations(folder / PERMUTATIONS, Counter(labels))


def _regdb(data: ReIDData, root: Path, held_out: int) -> int:
    """Visible/<id>/*.bmp, Thermal/<id>/*.bmp, idx/{train,test}_{visible,thermal}_{1..10}.txt: random halves.

    Ten images of each identity and spectrum, spread over its cameras, whatever there are more.
    """
    files: dict[tuple[int, Modality], list[str]] = {}
    frame = 0
    for part in (data.train, data.test):
        for identity in np.unique(part.identities).tolist():
            for modality, (top, letter) in _REGDB_NAMES.items():
                rows = np.flatnonzero((part.identities == identity) & (part.modalities == int(modality)))
                if len(rows) < REGDB_IMAGES:
                    raise ValueError(
                        f"RegDB has {REGDB_IMAGES} images of each identity in each spectrum, but identity {identity} "
                        f"has {len(rows)} {modality.name.lower()} ones; draw more images per camera"
                    )
                (root / top / str(identity)).mkdir(parents=True)
                for row in rows[np.linspace(0, len(rows) - 1, REGDB_IMAGES).round().astype(int)]:
                    frame += 1
                    name = f"{top}/{identity}/male_front_{letter}_{frame:05d}_{identity}.bmp"
                    Image.fromarray(part.images[row]).save(root / name)
                    files.setdefault((identity, modality), []).append(name)
    (root / "idx").mkdir()
    identities = np.unique(np.concatenate([data.train.identities, data.test.identities]))
    for trial in range(1, REGDB_TRIALS + 1):
        shuffled = np.random.default_rng(trial).permutation(identities).tolist()
        half = len(shuffled) // 2
        for part_name, chosen in (("train", sorted(shuffled[:half])), ("test", sorted(shuffled[half:]))):
            for title, modality in (("visible", Modality.VISIBLE), ("thermal", Modality.INFRARED)):
                lines = [
                    f"{name} {label}"
                    for label, identity in enumerate(chosen)
                    for name in files[identity, modality]
                ]
                _write_lines(root / "idx" / f"{part_name}_{title}_{trial}.txt", lines)
    return frame


def _llcm(data: ReIDData, root: Path, held_out: int) -> int:
    """vis/ and nir/ with idx lists, and test_vis/camC/<id>, test_nir/camC/<id> with the same test images."""
    lists: dict[str, list[str]] = {}
    for part_name, part in (("train", data.train), ("test", data.test)):
        labels = {identity: label for label, identity in enumerate(sorted(set(part.identities.tolist())))}
        for row in range(len(part)):
            kind = "vis" if part.modalities[row] == Modality.VISIBLE else "nir"
            identity, camera = int(part.identities[row]), _LLCM_CAMERA[int(part.cameras[row])]
            file = f"{identity:04d}_c{camera:02d}_s{row // 60:06d}_f{row % 10000:04d}_{kind}.jpg"
            folders = [f"{kind}/{identity:04d}"]
            if part_name == "test":
                folders.append(f"test_{kind}/cam{camera}/{identity:04d}")
            for folder in folders:
                (root / folder).mkdir(parents=True, exist_ok=True)
                save_jpeg(part.images[row], root / folder / file)
            lists.setdefault(f"{part_name}_{kind}", []).append(f"{folders[0]}/{file} {labels[identity]}")
    for camera in range(1, 10):
        (root / "test_vis" / f"cam{camera}").mkdir(parents=True, exist_ok=True)
        (root / "test_nir" / f"cam{camera}").mkdir(parents=True, exist_ok=True)
    (root / "idx").mkdir()
    for name, lines in lists.items():
        _write_lines(root / "idx" / f"{name}.txt", lines)
    test = sorted(set(data.test.identities.tolist()))
    (root / "idx" / "test_id.txt").write_text(",".join(map(str, test)) + "\n", encoding="ascii")
    return len(data.train) + len(data.test)


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(line + "\n" for line in lines), encoding="ascii")


LAYOUTS: dict[str, Callable[[ReIDData, Path, int], int]] = {"sysu": _sysu, "regdb": _regdb, "llcm": _llcm}
"""Layout names and their writers."""
