"""What the models of an ablation are tested on, and texts that change with it: stored figures are compared by them."""

from __future__ import annotations

import functools
from typing import Any

from mtrl.console.os_errors import readable
from mtrl.data import load_data
from mtrl.data.code_digest import code_digest
from mtrl.data.imageset import ReIDData
from train.data import load
from train.settings import TrainSettings

# Settings from which the test images of a data set made of files follow.
_OF_TEST_IMAGES = (
    *("dataset", "data_root", "size", "data_seed", "spectrum", "trial", "train_ids", "image_size"),
    *("on_bad", "value_range", "cache_dir"),
)
_digests: dict[tuple[Any, ...], str] = {}


@functools.cache
def real_people(folder: str, image_size: tuple[int, int]) -> ReIDData:
    """The test images of m3svd, cut out of its clips once. Errors as `mtrl.data.load_data`, with the option's name."""
    try:
        return load_data("m3svd", folder, image_size=image_size, parts=("test",))
    except (ValueError, OSError, ImportError) as error:
        raise ValueError(f"--real: {readable(error)}") from error


def key_of_images(settings: TrainSettings, test_seed: int) -> str:
    """A text that differs between different test images: of drawn ones the code, of files pixels and labels."""
    if settings.dataset == "synthetic":
        return code_digest("mtrl.data.synthetic.dataset")
    chosen = {name: getattr(settings, name) for name in _OF_TEST_IMAGES}
    key = (*(tuple(value) if isinstance(value, list) else value for value in chosen.values()), test_seed)
    if key not in _digests:
        _digests[key] = load(settings, ("test",), test_seed).test.digest()
    return _digests[key]


def key_of_real_people(folder: str, image_size: tuple[int, int]) -> str:
    """The same of the real people in a folder."""
    return real_people(folder, image_size).test.digest()


def forget_test_sets() -> None:
    """Reads all test images anew when they are asked for again."""
    _digests.clear()
    real_people.cache_clear()
