"""Small data sets on disk in the published layouts, drawn here: every image has one colour of its own."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

SIZE = (16, 32)  # width, height
SYSU_IDS = {"train": (1, 2, 3, 12), "val": (5, 6), "test": (7, 8, 9, 10)}
LLCM_VISIBLE, LLCM_INFRARED = range(1, 10), (1, 2, 4, 5, 6, 7, 8, 9)


def colour(path: str) -> tuple[int, int, int]:
    """The colour of an image, from its path below the root."""
    code = zlib.crc32(path.encode())
    return 40 + code % 170, 40 + (code >> 8) % 170, 40 + (code >> 16) % 170


def draw(root: Path, path: str, size: tuple[int, int] = SIZE) -> None:
    """Writes an image; its format follows from the ending."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    kind = {"jpg": "JPEG", "bmp": "BMP", "png": "PNG"}[path.rsplit(".", 1)[1].lower()]
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    Image.new("RGB", size, colour(path)).save(buffer, kind, **options)
    target.write_bytes(buffer.getvalue())


def sysu(root: Path, images: int = 3) -> Path:
    """SYSU-MM01. Test identity 8 was never seen by cameras 1 and 2, identity 9 has twice the images in camera 3."""
    for camera in range(1, 7):
        for identity in (*SYSU_IDS["train"], *SYSU_IDS["val"], *SYSU_IDS["test"], 33):
            if identity == 8 and camera in (1, 2):
                continue
            for frame in range(1, 1 + images * (2 if (identity, camera) == (9, 3) else 1)):
                draw(root, f"cam{camera}/{identity:04d}/{frame:04d}.jpg")
    (root / "exp").mkdir(exist_ok=True)
    for part, identities in SYSU_IDS.items():
        (root / "exp" / f"{part}_id.txt").write_text(",".join(map(str, identities)))
    return root


def regdb(root: Path, people: int = 8, images: int = 2, trials: Sequence[int] = range(1, 11)) -> Path:
    """RegDB: of each trial half of the people train, another half in every trial."""
    (root / "idx").mkdir(parents=True, exist_ok=True)
    for identity in range(1, people + 1):
        for kind in ("Visible", "Thermal"):
            for frame in range(images):
                draw(root, regdb_name(kind, identity, frame))
    for trial in trials:
        turned = [(identity + trial) % people + 1 for identity in range(people)]
        for part, chosen in (("train", turned[: people // 2]), ("test", turned[people // 2 :])):
            for kind in ("Visible", "Thermal"):
                lines = [
                    f"{regdb_name(kind, identity, frame)} {label}"
                    for label, identity in enumerate(sorted(chosen))
                    for frame in range(images)
                ]
                target = root / "idx" / f"{part}_{kind.lower()}_{trial}.txt"
                target.write_text("\n".join(lines) + "\n")
    return root


def regdb_name(kind: str, identity: int, frame: int) -> str:
    return f"{kind}/{identity}/male_front_{kind[0].lower()}_{frame:05d}_{identity}.bmp"


def llcm(root: Path, train: Sequence[int] = (1, 2, 4, 6), test: Sequence[int] = (3, 5, 7)) -> Path:
    """LLCM. Test identity 5 has no infrared image in camera 9; test_nir/cam3 is there and empty."""
    (root / "idx").mkdir(parents=True, exist_ok=True)
    for kind, cameras in (("vis", LLCM_VISIBLE), ("nir", LLCM_INFRARED)):
        lines = []
        for label, identity in enumerate(train):
            for camera in (1, 2):
                path = f"{kind}/{identity:04d}/{identity:04d}_c{camera:02d}_s1_f{camera}_{kind}.jpg"
                draw(root, path)
                lines.append(f"{path} {label}")
        (root / "idx" / f"train_{kind}.txt").write_text("\n".join(lines))
        for camera in cameras:
            for identity in test:
                if (kind, camera, identity) != ("nir", 9, 5):
                    name = f"{identity:04d}_c{camera:02d}_s2_f7_{kind}.jpg"
                    draw(root, f"test_{kind}/cam{camera}/{identity:04d}/{name}")
    (root / "test_nir" / "cam3").mkdir()
    (root / "idx" / "test_id.txt").write_text(",".join(map(str, test)))
    return root


def folder(root: Path) -> Path:
    """A user's own photographs."""
    for split, people in (
        ("train", ("anna", "bert", "cem", "dora")),
        ("query", ("eve", "fin")),
        ("gallery", ("eve", "fin", "gus")),
    ):
        for kind in ("visible", "infrared"):
            for person in people:
                for number in range(2):
                    draw(root, f"{split}/{kind}/{person}/{split} {number}.jpg")
    return root


# What `hostile` writes: images that can be read, ones that look so and cannot be, and everything else.
GOOD = (
    *(
        f"visible/1/{name}"
        for name in ("a.avif", "b.bmp", "c.dib", "d.gif", "e.jfif", "f.jpe", "g.JPG", "h.jpeg")
    ),
    *(f"visible/1/{name}" for name in ("i.mpo", "j.pgm", "k.Png", "l.ppm", "m.tif", "n.tiff", "o.webp")),
    *("visible/1/caf\udce9.png", "visible/1/linked.png", "visible/2/linked.png", "visible/old.jpg/1.png"),
    *("infrared/1/deep/er/1.png", "infrared/1/a.png", "infrared/2/linked.png", "infrared/2/other.jpg"),
)
BAD = ("visible/1/empty.jpg", "visible/1/html.png", "infrared/2/gone.jpg", "infrared/2/itself.png")
NO_IMAGES = {
    "visible/1/._a.jpg": "hidden",
    "visible/.Trash": "hidden",
    "infrared/.DS_Store": "hidden",
    "visible/__MACOSX": "left by macOS",
    "visible/1/@eaDir": "previews of a file server",
    "visible/$RECYCLE.BIN": "left by Windows",
    "infrared/1/Thumbs.db": "not an image",
    "infrared/1/notes": "not an image",
    "visible/1/p.heic": ".heic is not decoded",
    "visible/1/q.SVG": ".svg is not decoded",
    "visible/1/r.jp2": ".jp2 is not decoded",
    "visible/1/pipe.jpg": "no ordinary file",
    "infrared/1/round": "a link to a folder that it lies in",
    "infrared/1/top": "a link to a folder that it lies in",
    "infrared/1/itself": "a link to nowhere",
    "infrared/nobody": "a link to nowhere",
}


def hostile(root: Path) -> Path:
    """A gallery as disks hold them, with GOOD, BAD and NO_IMAGES; links lead to a folder beside it."""
    beside = root.with_name(f"{root.name} elsewhere")
    for path in ("1/a.png", "1/deep/er/1.png"):
        draw(root, f"infrared/{path}")
    for path in ("linked.png", "other.jpg"):
        draw(beside / "2", path)
    draw(root, "visible/old.jpg/1.png")
    draw(root, "visible/2/linked.png")
    kinds = {".jfif": "JPEG", ".jpe": "JPEG", ".mpo": "JPEG", ".pgm": "PPM"}
    for path in GOOD[:16]:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE, colour(path.encode("utf-8", "replace").decode())).save(
            target, kinds.get(target.suffix)
        )
    (root / "visible/1/linked.png").symlink_to(beside / "2" / "linked.png")
    (root / "infrared/2").symlink_to(beside / "2", target_is_directory=True)
    left = ("visible/__MACOSX/1/a.png", "visible/1/@eaDir/a.jpg", "visible/$RECYCLE.BIN/1.png")
    for path in ("visible/.Trash/1.png", *left, "visible/1/._a.jpg", "visible/1/p.heic"):
        draw(root, f"{path}.png")
        (root / f"{path}.png").rename(root / path)
    for path in (
        "visible/1/q.SVG",
        "visible/1/r.jp2",
        "infrared/1/Thumbs.db",
        "infrared/1/notes",
        "infrared/.DS_Store",
    ):
        (root / path).write_bytes(b"no image")
    os.mkfifo(root / "visible/1/pipe.jpg")
    (root / "visible/1/empty.jpg").touch()
    (root / "visible/1/html.png").write_text("<html>")
    for link, target in (
        ("infrared/1/round", ".."),
        ("infrared/1/top", "/"),
        ("infrared/1/itself", "itself"),
    ):
        (root / link).symlink_to(target)
    (root / "infrared/nobody").symlink_to("nowhere")
    (beside / "2" / "gone.jpg").symlink_to("nowhere.jpg")
    (beside / "2" / "itself.png").symlink_to("itself.png")
    return root


MAKERS = {"sysu": sysu, "regdb": regdb, "llcm": llcm, "folder": folder}
