"""The synthetic data set: people drawn by `mtrl.data.synthetic`, seen by six cameras, with SYSU-MM01's protocol."""

from __future__ import annotations

from typing import Any

from mtrl.data.imageset import ImageSet
from mtrl.data.sources.source import Request, Source
from mtrl.data.synthetic.spectra import SPECTRA

_SMALL_NETWORK: dict[str, Any] = {
    "backbone": "resnet10t",
    "backbone_args": '{"channels": [32, 64, 128, 256], "stem_width": 16}',
    "pretrained": False,
    "lr": 2e-3,
    "lr_warmup": 0.5,
    "flip": 0.5,
    "erase": 0.3,
    "erase_area": (0.02, 0.2),
}

_TRAINING: dict[str, dict[str, Any]] = {
    "tiny": {
        **_SMALL_NETWORK,
        "backbone_args": '{"channels": [16, 32, 48, 64], "stem_width": 16}',
        "image_size": (64, 32), "pad": 2, "epochs": 10, "identities": 4, "instances": 2,
        "warmup_epochs": 1.0, "ramp_epochs": 1.0, "hold_out": 6,
    },
    "small": {
        **_SMALL_NETWORK,
        "image_size": (128, 64), "pad": 5, "epochs": 24, "warmup_epochs": 1.0, "hold_out": 60, "eval_every": 4,
    },
    "large": {
        **_SMALL_NETWORK,
        "backbone": "resnet18", "backbone_args": "{}",
        "image_size": (192, 96), "pad": 8, "epochs": 40, "identities": 16, "warmup_epochs": 2.0, "hold_out": 200,
        "eval_every": 4,
    },
}  # fmt: skip
_TRANSLATOR: dict[str, dict[str, Any]] = {
    "tiny": {"image_size": (64, 32), "pad": 2, "hold_out": 6, "width": 8, "deep": 32, "blocks": 1},
    "small": {
        "image_size": (128, 64), "pad": 4, "hold_out": 60, "epochs": 4, "lr": 6e-4,
        "width": 16, "deep": 96, "blocks": 3,
    },
    "large": {"image_size": (256, 128), "pad": 8, "hold_out": 200},
}  # fmt: skip


def load(request: Request) -> dict[str, ImageSet]:
    """Draws the images at first use, later reads them from the cache. Raises ValueError if a data root is given."""
    from mtrl.data.synthetic import load

    if request.root is not None:
        raise ValueError("the synthetic data set is drawn, not read: leave the data root out")
    data = load(
        request.size,
        request.seed,
        request.test_seed,
        request.image_size,
        request.cache_dir,
        parts=request.parts,
        labels_only=request.labels_only,
        spectrum=request.spectrum,
    )
    return {"train": data.train, "test": data.test}


SOURCE = Source(load, protocol="sysu", spectra=SPECTRA, training=_TRAINING, translator=_TRANSLATOR)
