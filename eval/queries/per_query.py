"""What every query came to, as a table on disk: the ground for metrics of your own and for paired comparisons."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.evaluate import Evaluation
from eval.report import make_room
from mtrl.data.imageset import ImageSet
from mtrl.files.atomic import write_atomically

_COLUMNS = {
    "setting": "i",
    "trial": "i",
    "query": "U",
    "identity": "i",
    "camera": "i",
    "ap": "f",
    "rank": "i",
}


@dataclasses.dataclass(frozen=True, eq=False)
class PerQuery:
    """A row for each setting, trial and query. In the .npz file each column is an array of its name.

    settings  what was evaluated, as the JSON of `python -m eval` names it: dataset, direction, mode, checkpoint, ...
    setting   int64 [N], which of `settings`;  trial  int64 [N], from 0 on (RegDB: the splits, one after another)
    query     [N], name of the query image;  identity, camera  int64 [N], of that image
    ap        float64 [N], average precision; NaN where no gallery image shows the identity
    rank      int64 [N], of the first right image, at the CMC's level, from 1 on; 0 where there is none
    """

    settings: tuple[dict[str, Any], ...]
    setting: NDArray[np.int64]
    trial: NDArray[np.int64]
    query: NDArray[np.str_]
    identity: NDArray[np.int64]
    camera: NDArray[np.int64]
    ap: NDArray[np.float64]
    rank: NDArray[np.int64]

    @classmethod
    def empty(cls) -> PerQuery:
        """The table without rows."""
        kinds = {"i": np.int64, "U": np.str_, "f": np.float64}
        return cls((), **{name: np.empty(0, kinds[kind]) for name, kind in _COLUMNS.items()})

    def joined(
        self, merged: Sequence[Evaluation], rounds: Sequence[tuple[Sequence[Evaluation], ImageSet]]
    ) -> PerQuery:
        """This table and the rows of further settings.

        merged  an evaluation for each setting, which names it
        rounds  what they were merged from: (one evaluation for each setting, their images) of each split
        """
        parts: dict[str, list[NDArray[Any]]] = {name: [getattr(self, name)] for name in _COLUMNS}
        for number in range(len(merged)):
            trial = 0
            for evaluations, images in rounds:
                found, names = evaluations[number], np.array(images.names, dtype=np.str_)
                for drawn, scores in zip(found.trials, found.report.trials, strict=True):
                    rows, count = found.feature_set.rows[drawn.query], len(drawn.query)
                    values = (np.full(count, len(self.settings) + number), np.full(count, trial), names[rows])
                    labels = images.identities[rows], images.cameras[rows]
                    for name, column in zip(
                        _COLUMNS, (*values, *labels, scores.ap, scores.first), strict=True
                    ):
                        parts[name].append(column)
                    trial += 1
        settings = tuple(_described(evaluation) for evaluation in merged)
        columns = {name: np.concatenate(column) for name, column in parts.items()}
        return PerQuery(self.settings + settings, **columns)

    def save(self, path: Path) -> None:
        """Writes the table atomically. Raises OSError when it cannot be written."""
        buffer = io.BytesIO()
        columns = {name: getattr(self, name) for name in _COLUMNS}
        np.savez_compressed(buffer, settings=np.array(json.dumps(self.settings)), **columns)
        make_room(path)
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> PerQuery:
        """A saved table. Raises FileNotFoundError, or ValueError for a file that is damaged or something else."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist; python -m eval --per-query writes such a file")
        try:
            with np.load(path, allow_pickle=False) as file:
                settings = tuple(json.loads(str(file["settings"])))
                columns = {name: file[name] for name in _COLUMNS}
            _check(settings, columns)
        except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is not a whole table of queries ({error}); write it again with python -m eval --per-query"
            ) from error
        return cls(settings, **columns)


def _described(evaluation: Evaluation) -> dict[str, Any]:
    """The facts of a setting, without its figures."""
    facts = evaluation.report.to_dict()
    figures = ("trials", "mean", "std", "modality_gap", "rerank", "corrupted", "beside")
    return {name: value for name, value in facts.items() if name not in figures}


def _check(settings: tuple[Any, ...], columns: dict[str, NDArray[Any]]) -> None:
    """Raises ValueError unless each column is one-dimensional, of its type and as long as the others."""
    if not all(isinstance(facts, dict) for facts in settings):
        raise ValueError("its settings are no objects")
    for name, kind in _COLUMNS.items():
        if columns[name].ndim != 1 or columns[name].dtype.kind != kind:
            raise ValueError(f"{name} is {columns[name].dtype} {list(columns[name].shape)}")
    if len({len(column) for column in columns.values()}) != 1:
        raise ValueError("its columns differ in length")
    setting = columns["setting"]
    if len(setting) and not 0 <= setting.min() <= setting.max() < len(settings):
        raise ValueError("a row belongs to no setting")
