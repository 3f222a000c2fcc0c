"""Feature files of the official SYSU-MM01 evaluation, read as arrays only, never as code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.data.matfiles import read_mat
from mtrl.labels.names import short, whole_number


def read_features(directory: Path, prefix: str, camera: int) -> dict[int, NDArray[np.float64]]:
    """{identity: float64 [n, D]} of one camera, from `PREFIX_camN` with ending .mat, .npz or .safetensors.

    .mat: cell array `feature`, cell i = identity i; the others: one array per key "N/i".
    Raises FileNotFoundError or ValueError naming the file.
    """
    stem = f"{prefix}_cam{camera}"
    found = [directory / (stem + ending) for ending in (".mat", ".npz", ".safetensors")]
    found = [path for path in found if path.is_file()]
    if not found:
        raise FileNotFoundError(f"no {stem}.mat (nor .npz, .safetensors) in {directory}")
    if len(found) > 1:
        raise ValueError(f"{directory} holds {' and '.join(path.name for path in found)}: keep one of them")
    path = found[0]
    if path.suffix == ".mat":
        cells = read_mat(path, "feature")
        if cells.dtype != object:
            raise ValueError(f"{path}: feature is not a cell array")
        arrays = {identity: np.asarray(cell) for identity, cell in enumerate(cells.ravel(), 1)}
    else:
        arrays = _read_keyed(path, camera)
    return {
        identity: _checked(array, f"{path}, identity {identity}")
        for identity, array in arrays.items()
        if array.size
    }


def _read_keyed(path: Path, camera: int) -> dict[int, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]]
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as content:
                arrays = {key: content[key] for key in content.files}
        else:
            from safetensors.numpy import load_file

            arrays = load_file(path)
    except Exception as error:  # both readers raise many types on damaged files
        raise ValueError(f"{path} cannot be read: {error}") from error
    result = {}
    for key, array in arrays.items():
        left, right = (whole_number(part) for part in key.partition("/")[::2])
        if left != camera or right is None:
            raise ValueError(f'{path}: key {short(key)!r} is not "camera/identity" of camera {camera}')
        if right in result:
            raise ValueError(f"{path}: identity {right} of camera {camera} is there twice")
        result[right] = array
    return result


def _checked(array: NDArray[Any], what: str) -> NDArray[np.float64]:
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{what}: expected a real matrix [images, dimensions], not {array.dtype} {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{what}: holds NaN or infinity")
    return np.ascontiguousarray(array, dtype=np.float64)
