"""The loss terms that MTRL adds to the baseline, one entry each: `TERMS`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor

from .direct import direct_contrastive
from .field.cpm import center_pair_mining
from .field.dcl import discriminative_center
from .field.hetero_center_triplet import hetero_center_triplet
from .field.msel import modality_shared_enhancement
from .modality_center import modality_center
from .modality_query import modality_query_regularization
from .modality_transition import modality_transition_contrastive

Settings = TypeVar("Settings")


@dataclasses.dataclass(frozen=True)
class Term:
    """One loss term that is added to the baseline's objective.

    loss        (visible [N,D], transition [N,D], infrared [M,D], labels [N], labels [M]) -> scalar. If the field
                `transition` is False, it is called without the second argument
    weight      default weight; 0 turns the term off
    help        help text of the flag for its weight
    label       name in charts
    transition  whether it uses transition images
    options     {keyword argument of `loss`: field of `LossWeights` that holds its value}
    """

    loss: Callable[..., Tensor]
    weight: float
    help: str
    label: str
    transition: bool = True
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)


# {name: term}. The name is also that of the flag (--mtc), the entry in YAML files and the log record (loss_mtc). Flags,
# loss weights, total loss, methods, ablation rows and chart labels are all derived from this table.
TERMS: dict[str, Term] = {
    "mtc": Term(
        modality_transition_contrastive,
        weight=1.5,
        help="weight of the modality-transition contrastive loss",
        label="transition contrast",
        options={"temperature": "temperature", "hop1": "hop1", "form": "mtc_form", "margin": "margin"},
    ),
    "center": Term(
        modality_center,
        weight=0.5,
        help="weight of the centre loss",
        label="centre",
        options={"margin": "margin"},
    ),
    "mqr": Term(
        modality_query_regularization,
        weight=1.0,
        help="weight of the modality-query regularisation loss",
        label="query",
        options={"temperature": "query_temperature", "teachers": "query_teacher"},
    ),
    "direct": Term(
        direct_contrastive,
        weight=0.0,
        help="weight of a direct visible-infrared contrast",
        label="direct contrast",
        transition=False,
        options={"temperature": "temperature"},
    ),
    "hctri": Term(
        hetero_center_triplet,
        weight=0.0,
        help="weight of the hetero-centre triplet",
        label="hetero-centre triplet",
        transition=False,
        options={"margin": "margin"},
    ),
    "msel": Term(
        modality_shared_enhancement,
        weight=0.0,
        help="weight of PMT's modality-shared enhancement loss",
        label="shared enhancement",
        transition=False,
    ),
    "dcl": Term(
        discriminative_center,
        weight=0.0,
        help="weight of PMT's discriminative centre loss",
        label="discriminative centre",
        transition=False,
    ),
    "cpm": Term(
        center_pair_mining,
        weight=0.0,
        help="weight of DEEN's centre-guided pair mining, over transition images",
        label="centre pairs",
    ),
}


def weight_fields(
    before: str, field: Callable[[Term], Any] = lambda term: term.weight
) -> Callable[[type[Settings]], type[Settings]]:
    """Class decorator, applied before `@dataclass`. Adds one float field per entry of `TERMS`, before field `before`.

    field  term -> the field's default value, or its `dataclasses.field(...)`
    """

    def add(cls: type[Settings]) -> type[Settings]:
        fields = dict[str, Any]()
        for name, kind in cls.__annotations__.items():
            if name == before:
                fields |= dict.fromkeys(TERMS, "float")
            fields[name] = kind
        cls.__annotations__ = fields
        for name, term in TERMS.items():
            setattr(cls, name, field(term))
        return cls

    return add
