"""Reading MATLAB files and feature files without running anything that stands in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.names import check_integer, short, whole_number

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
    """{(camera, identity): int64 [10, n]} of rand_perm_cam.mat; each row is a permutation of 1..n."""
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
    """The identities of test_id.mat, ascending."""
    values = read_mat(path, "id").ravel()
    if values.size == 0 or values.dtype.kind not in "iuf" or (values != np.floor(values)).any():
        raise ValueError(f"{path}: id must be a list of whole numbers")
    if values.dtype.kind == "f" and (abs(values) > 2**53).any():  # infinity too
        raise ValueError(f"{path}: id holds a number beyond 2^53, which is no identity")
    return sorted({check_integer(int(value), f"{path}: an identity") for value in values})


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
