"""Methods and presets: names that stand for several settings, and how they combine with flags and YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mtrl.console.cli import Given
from mtrl.data.sources import find_source
from mtrl.losses.terms import TERMS


def _row(transition: bool, **weights: float) -> dict[str, Any]:
    """The settings that a method decides: whether transition images are shown, the weights that are not 0, and the form
    of the triplet.
    """
    return {"transition": transition, "triplet_form": "weighted", **dict.fromkeys(TERMS, 0.0), **weights}


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
    "augmented-direct-1.5": _row(True, direct=1.5),
    "augmented-direct-4.5": _row(True, direct=4.5),
    **{name: _row(True, **{name: weight}) for name, weight in _MTRL.items()},
    # The field's losses, at the weights of their papers. CPM takes transition images for its generated features; CAJ
    # shows each visible image twice.
    "hctri": _row(False, hctri=1.0),
    "pmt": _row(False, msel=0.5, dcl=0.5),
    "cpm": _row(True, cpm=0.8),
    "caj": {
        **_row(True),
        "translator": "mtrl.translate.exchange:ChannelExchange",
        "triplet_form": "squared",
    },
    "mtrl+hctri": _row(True, **_MTRL, hctri=1.0),
}


def resolve(
    found: Given,
    kind: str,
    defaults: Mapping[str, Any],
    methods: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """(settings that differ from `defaults`, a line for each of the file's entries that may not be what was meant).

    In rising order of precedence: the data set's preset for its size, the method's row of `methods`, the YAML file,
    flags. `kind` of preset: "training" or "translator", the fields of `mtrl.data.sources.Source`.
    A method on the command line decides its terms: of the file's none hold, nor what else the file's own method decided
    (the translator of "caj"). Arguments of a backbone hold for the backbone that they were given with.
    """
    file, notes = dict(found.file), list[str]()
    values = {**defaults, **file, **found.flags}
    name, preset = named_preset(kind, values)
    before, _ = named_preset(kind, {**defaults, **file})
    if name != before and (kept := _other(file, preset, found.flags)):
        notes.append(
            f"{found.source} sets {listed(kept.items())} instead of the preset {name}'s "
            f"{listed((key, preset[key]) for key in kept)}"
        )
    terms: Mapping[str, Any] = {}
    if methods is not None:
        terms = methods[values["method"]]
        if "method" in found.flags:
            former = methods.get(file.get("method", ""), {})
            decided = {**{key: defaults[key] for key in former}, **terms}
            if dropped := _other(file, decided, found.flags):
                notes.append(
                    f"--method {values['method']} decides {listed((key, decided[key]) for key in dropped)}: "
                    f"{found.source}'s {listed(dropped.items())} do not hold; flags change them"
                )
            file = {key: value for key, value in file.items() if key not in decided}
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


def named_preset(kind: str, values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name and the settings of the preset that data set and size choose; no settings where there is none."""
    source, name = find_source(values["dataset"]), str(values["dataset"])
    size = values["size"] if source.sizes else ""
    return f"{name}-{size}" if size else name, dict(getattr(source, kind).get(size, {}))


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
