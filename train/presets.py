"""Methods and presets: names that stand for several settings, and how they combine with flags and YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mtrl.console.cli import Given
from mtrl.losses.terms import TERMS


def _row(transition: bool, **weights: float) -> dict[str, Any]:
    """The settings that a method decides: whether transition images are shown, and the weights that are not 0."""
    return {"transition": transition, **dict.fromkeys(TERMS, 0.0), **weights}


# The added terms at their default weights. The single-term methods have the same weights.
_MTRL = {name: term.weight for name, term in TERMS.items() if term.weight}
# A baseline sees visible and infrared images only ("A") or the transition images too, as plain augmentation ("A'").
# The direct controls put the total weight of MTRL's own terms on one visible-infrared contrast, so that MTRL is
# compared with as much contrastive pressure, not with less.
METHODS: dict[str, dict[str, Any]] = {
    "mtrl": _row(True, **_MTRL),
    "mtrl-triangle": _row(True, **_MTRL, direct=1.5),
    "baseline": _row(False),
    "augmented": _row(True),
    "direct": _row(False, direct=3.0),
    "augmented-direct": _row(True, direct=3.0),
    "augmented-direct-4.5": _row(True, direct=4.5),
    **{name: _row(True, **{name: weight}) for name, weight in _MTRL.items()},
}

_SMALL_NETWORK = {
    "backbone": "resnet10t",
    "backbone_args": '{"channels": [32, 64, 128, 256], "stem_width": 16}',
    "pretrained": False,
    "lr": 2e-3,
    "lr_warmup": 0.5,
    "flip": 0.5,
    "erase": 0.3,
    "erase_area": (0.02, 0.2),
}

# Starting points by data set and size; any flag or YAML entry overrides them, but for `backbone_args`, which belong
# to their backbone.
PRESETS: dict[str, dict[str, Any]] = {
    "synthetic-tiny": {
        **_SMALL_NETWORK,
        "backbone_args": '{"channels": [16, 32, 48, 64], "stem_width": 16}',
        "image_size": (64, 32), "pad": 2, "epochs": 10, "identities": 4, "instances": 2,
        "warmup_epochs": 1.0, "ramp_epochs": 1.0, "hold_out": 6,
    },
    "synthetic-small": {
        **_SMALL_NETWORK,
        "image_size": (128, 64), "pad": 5, "epochs": 24, "warmup_epochs": 1.0, "hold_out": 60, "eval_every": 4,
    },
    "synthetic-large": {
        **_SMALL_NETWORK,
        "backbone": "resnet18", "backbone_args": "{}",
        "image_size": (192, 96), "pad": 8, "epochs": 40, "identities": 16, "warmup_epochs": 2.0, "hold_out": 200,
        "eval_every": 4,
    },
    "sysu": {"pretrained": True, "eval_every": 2},
    "regdb": {"pretrained": True, "eval_every": 5},
    "llcm": {"pretrained": True, "eval_every": 2},
    "folder": {"pretrained": True, "eval_every": 5},
}  # fmt: skip


def resolve(
    found: Given,
    presets: Mapping[str, Mapping[str, Any]],
    defaults: Mapping[str, Any],
    methods: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """(settings that differ from `defaults`, a line for each of the file's entries that may not be what was meant).

    In rising order of precedence: `presets` of data set and size, the method's row of `methods`, the YAML file, flags.
    A method on the command line decides its terms: of the file's none hold. Arguments of a backbone hold for the
    backbone that they were given with.
    """
    file, notes = dict(found.file), list[str]()
    values = {**defaults, **file, **found.flags}
    name = preset_name(values)
    preset = dict(presets.get(name, {}))
    before = preset_name({**defaults, **file})
    if name != before and (kept := _other(file, preset, found.flags)):
        notes.append(
            f"{found.source} sets {listed(kept.items())} instead of the preset {name}'s "
            f"{listed((key, preset[key]) for key in kept)}"
        )
    terms: Mapping[str, Any] = {}
    if methods is not None:
        terms = methods[values["method"]]
        if "method" in found.flags:
            if dropped := _other(file, terms, found.flags):
                notes.append(
                    f"--method {values['method']} decides {listed((key, terms[key]) for key in dropped)}: "
                    f"{found.source}'s {listed(dropped.items())} do not hold; flags change them"
                )
            file = {key: value for key, value in file.items() if key not in terms}
    result: dict[str, Any] = dict(terms)
    for source in (preset, file, found.flags):
        if source.get("backbone", result.get("backbone")) != result.get("backbone"):
            result.pop("backbone_args", None)
        result |= source
    if "backbone_args" in file and "backbone_args" not in result:
        notes.append(
            f"--backbone {result['backbone']} comes without {found.source}'s backbone_args of another one"
        )
    return result, notes


def preset_name(values: Mapping[str, Any]) -> str:
    """The entry of a table of presets that data set and size choose."""
    return f"synthetic-{values['size']}" if values["dataset"] == "synthetic" else str(values["dataset"])


def listed(values: Iterable[tuple[str, Any]]) -> str:
    """`epochs 24, image_size 128 64`: options with their values, for a line of text."""
    return ", ".join(
        f"{name} {' '.join(map(str, value)) if isinstance(value, (list, tuple)) else value}"
        for name, value in values
    )


def _other(file: Mapping[str, Any], named: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """The file's entries that differ from those that a name stands for, and that no flag replaces."""
    return {
        key: value
        for key, value in file.items()
        if key in named
        and key not in flags
        and (tuple(value) if isinstance(value, list) else value) != named[key]
    }
