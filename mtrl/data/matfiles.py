"""Reads and writes the MATLAB files of SYSU-MM01's official evaluation. Reading executes no code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.labels.names import check_integer

PERMUTATIONS, TEST_IDS = "rand_perm_cam.mat", "test_id.mat"
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def read_mat(path: Path, variable: str) -> NDArray[Any]:
    """One variable of a MATLAB file up to version 7 (MAT-5).

    Raises FileNotFoundError, or ValueError for a damaged file, version 7.3, or an absent variable.
    """
    import scipy.io

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    with path.open("rb") as file:
        head = file.read(1024)
    if head[:8] == _HDF5_MAGIC or head[512:520] == _HDF5_MAGIC:
        raise ValueError(f"{path} is a MATLAB 7.3 file; save it with save(..., '-v7') and try again")
    try:
        content = scipy.io.loadmat(str(path), variable_names=[variable])
    except Exception as error:  # scipy raises a dozen types on damaged files
        raise ValueError(f"{path} is not a readable MATLAB file: {error}") from error
    if variable not in content:
        raise ValueError(f"{path} holds no variable {variable!r}")
    return content[variable]


def read_permutations(path: Path) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Reads rand_perm_cam.mat as {(camera, identity): int64 [trials,n]}, cameras and identities from 1.

    Row t is the order of the n images (a permutation of 1..n) in trial t; the official file has 10 rows. Pairs without
    images are left out. Raises as `read_mat`, and ValueError for content of another form.
    """
    cells = read_mat(path, "rand_perm_cam")
    if cells.dtype != object:
        raise ValueError(f"{path}: rand_perm_cam is not a cell array")
    permutations = {}
    for camera, cell in enumerate(cells.ravel(), 1):
        for identity, rows in enumerate(np.asarray(cell).ravel(), 1):
            matrix = np.asarray(rows)
            if matrix.size == 0:
                continue
            expected = np.arange(1, matrix.shape[-1] + 1)
            if matrix.ndim != 2 or not (np.sort(matrix, axis=1) == expected).all():
                raise ValueError(
                    f"{path}: camera {camera}, identity {identity} is not a table of permutations"
                )
            permutations[camera, identity] = matrix.astype(np.int64)
    if not permutations:
        raise ValueError(f"{path}: rand_perm_cam is empty")
    return permutations


def read_test_ids(path: Path) -> list[int]:
    """Reads the identities of test_id.mat, ascending."""
    values = read_mat(path, "id").ravel()
    if values.size == 0 or values.dtype.kind not in "iuf" or (values != np.floor(values)).any():
        raise ValueError(f"{path}: id must be a list of whole numbers")
    if values.dtype.kind == "f" and (abs(values) > 2**53).any():  # refuses infinity too
        raise ValueError(f"{path}: id holds a number beyond 2^53, which is no identity")
    return sorted({check_integer(int(value), f"{path}: an identity") for value in values})


def write_permutations(
    path: Path, counts: Mapping[tuple[int, int], int], trials: int = 10, seed: int = 0
) -> None:
    """Writes a rand_perm_cam.mat with a random order of 1..n for each trial, camera and identity.

    counts  {(camera, identity): number n of images}
    """
    import scipy.io

    generator = np.random.default_rng(seed)
    cameras = np.empty((max(camera for camera, _ in counts), 1), dtype=object)
    for camera in range(1, len(cameras) + 1):
        cells = np.empty((1, max(identity for _, identity in counts)), dtype=object)
        for identity in range(1, cells.size + 1):
            count = counts.get((camera, identity), 0)
            orders = [generator.permutation(count) + 1 for _ in range(trials if count else 0)]
            cells[0, identity - 1] = np.array(orders, dtype=np.uint16).reshape(len(orders), count)
        cameras[camera - 1, 0] = cells
    scipy.io.savemat(path, {"rand_perm_cam": cameras})


def write_test_ids(path: Path, identities: Sequence[int]) -> None:
    """Writes a test_id.mat with these identities."""
    import scipy.io

    scipy.io.savemat(path, {"id": np.array([sorted(identities)], dtype=np.float64)})
