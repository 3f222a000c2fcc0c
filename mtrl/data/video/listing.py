"""A folder of crops with its listing.csv: written crop by crop, resumed where it was cut off."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtrl.data.video.crops import Crop
from mtrl.data.video.thermal import comment
from mtrl.files.atomic import (
    explained,
    flush_all,
    flush_file,
    flush_folder,
    make_folder,
    remove_partial,
    write_atomically,
)
from mtrl.files.filenames import as_text
from mtrl.files.levels import ValueRange
from mtrl.files.untrusted import parse_json, read_limited
from mtrl.models.config import Modality

LISTING = "listing.csv"
# fmt: off
COLUMNS = ("path", "track", "frame", "time", "seconds", "x", "y", "width", "height", "quality", "modality", "camera",
           "value_range")
# fmt: on
STATE = "crops.json"
PART = "listing.csv.part"
JPEG_QUALITY = 95
_KEPT = 256  # rows in memory at most


def holds_crops(folder: Path) -> bool:
    """Whether `crops` wrote this folder: it has a listing beside crops.json, or that file holds a state of `crops`.

    Others write files of that name too. Raises OSError for a file that cannot be opened.
    """
    if (folder / LISTING).is_file():
        return True
    try:
        state = parse_json(read_limited(folder / STATE))
    except ValueError:
        return False
    return isinstance(state, dict) and {"settings", "next_frame", "bytes", "count"} <= state.keys()


class CropFolder:
    """Crops as FOLDER/TRACK/FRAME.jpg, and a row of listing.csv for each; the listing appears when all are there.

    Until then its rows stand in listing.csv.part, and crops.json says how many of its bytes, and which frames, are
    done: a run that was cut off goes on there.

    settings  what decides the crops, as JSON values: a folder is continued only with equal ones
    Raises ValueError for a folder that holds something else, OSError for one that cannot be written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder, self.settings = folder, dict(settings)
        make_folder(folder)
        state = self._read_state()
        self.finished = bool(state.get("finished"))
        self.next_frame, self.count = int(state.get("next_frame", 0)), int(state.get("count", 0))
        self.modality = Modality.parse(state["modality"]) if state.get("modality") else None
        self._bytes = int(state.get("bytes", 0))
        self._rows: list[tuple[Any, ...]] = []  # of whole frames
        self._current: list[tuple[Any, ...]] = []  # of the frame under way
        if not state:
            self._append([COLUMNS])
            self._write_state()

    def add(self, crop: Crop, modality: Modality, start: float | None, camera: int | None,
            value_range: ValueRange | None) -> None:  # fmt: skip
        """Writes one crop.

        start        the moment of the first frame, in seconds since 1970-01-01 UTC
        value_range  that the frame was scaled from; None for one that was not
        """
        self.modality = modality
        path = f"{crop.track}/{crop.frame + 1:06d}.jpg"
        target = self.folder / path
        target.parent.mkdir(exist_ok=True)
        buffer = io.BytesIO()
        crop.image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0, comment=comment(value_range))
        write_atomically(target, buffer.getvalue(), flush=False)
        known = start is not None and crop.seconds is not None
        moment = _iso(start + crop.seconds) if known else ""  # type: ignore[operator]
        seconds = "" if crop.seconds is None else f"{crop.seconds:.3f}"
        box = (f"{side:g}" for side in (crop.box.x, crop.box.y, crop.box.width, crop.box.height))
        limits = "" if value_range is None else f"{value_range[0]!r} {value_range[1]!r}"
        self._current.append(
            (path, crop.track, crop.frame + 1, moment, seconds, *box, f"{crop.quality:.4f}",
             modality.name.lower(), "" if camera is None else camera, limits)
        )  # fmt: skip

    def done_until(self, frame: int) -> None:
        """Tells that all crops of the frames before `frame` are there; now and then that is kept on the disk."""
        self._rows += self._current
        self.count += len(self._current)
        self._current, self.next_frame = [], frame
        if len(self._rows) >= _KEPT:
            self.keep()

    def keep(self) -> None:
        """Flushes what is known of whole frames to the disk."""
        flush_all(self.folder / row[0] for row in self._rows)
        self._append(self._rows)
        self._rows = []
        self._write_state()

    def finish(self) -> None:
        """Makes the listing appear."""
        self.keep()
        try:
            (self.folder / PART).replace(self.folder / LISTING)
        except OSError as error:
            raise explained(error, self.folder / LISTING) from error
        flush_folder(self.folder)
        self.finished = True
        self._write_state()

    def _read_state(self) -> dict[str, Any]:
        """{} for a new folder."""
        remove_partial(self.folder, [STATE])
        path, name = self.folder / STATE, as_text(self.folder)
        if not path.is_file():
            others = [entry.name for entry in self.folder.iterdir() if entry.name != PART]
            if others:
                raise ValueError(f"{name} holds other files ({as_text(others[0])}); choose a new folder")
            (self.folder / PART).unlink(missing_ok=True)
            return {}
        try:
            state = parse_json(read_limited(path))
            same = state["settings"] == json.loads(json.dumps(self.settings))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{as_text(path)} is damaged; delete {name} and make the crops again") from error
        if not same and not state.get("count"):  # no crop to lose
            for file in (PART, LISTING):
                (self.folder / file).unlink(missing_ok=True)
            return {}
        if not same:
            raise ValueError(
                f"{name} holds the crops of another video, other boxes or other settings; choose a new folder, or "
                "delete that one"
            )
        if not state.get("finished"):
            self._cut_part(int(state["bytes"]))
        elif not (self.folder / LISTING).is_file():
            raise ValueError(f"{name} has lost its {LISTING}; delete {name} and make the crops again")
        return dict(state)

    def _cut_part(self, size: int) -> None:
        """Takes rows off that were written after the last state. The whole listing may have its final name already."""
        part = self.folder / PART
        if not part.is_file() and (self.folder / LISTING).is_file():
            (self.folder / LISTING).replace(part)
        if not part.is_file() or part.stat().st_size < size:
            raise ValueError(
                f"{as_text(part)} is damaged; delete {as_text(self.folder)} and make the crops again"
            )
        os.truncate(part, size)

    def _append(self, rows: list[Any]) -> None:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(rows)
        content = buffer.getvalue().encode()
        try:
            with (self.folder / PART).open("ab") as file:
                file.write(content)
            flush_file(self.folder / PART)
        except OSError as error:
            raise explained(error, self.folder / PART) from error
        self._bytes += len(content)

    def _write_state(self) -> None:
        state = {
            "settings": self.settings,
            "next_frame": self.next_frame,
            "bytes": self._bytes,
            "count": self.count,
            "modality": self.modality.name.lower() if self.modality is not None else None,
            "finished": self.finished,
        }
        write_atomically(self.folder / STATE, json.dumps(state).encode())


def _iso(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
