"""The training objective: a weighted sum of the losses.

    L = L_id + L_wrt + ramp (l_mtc L_mtc + l_center L_center + l_mqr L_mqr + l_direct L_direct + ...)

The terms in the brackets are the entries of `terms.TERMS`. A teacher adds l_distil L_distil, which is not ramped. The
methods differ in their weights l:
baseline A   no transition images, all l = 0
baseline A'  transition images as additional training data, all l = 0
controls     A and A' with l_direct > 0
MTRL         transition images and the default weights
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .distances import Labels, label_tensor, unit_rows
from .distillation import similarity_distillation
from .identity import identity_loss
from .modality_query import QUERY_TEACHERS
from .modality_transition import HOP1_FORMS, MTC_FORMS
from .own import OwnLoss
from .terms import TERMS, weight_fields
from .triplet import weighted_triplet

if TYPE_CHECKING:
    from mtrl.models.reid import Features

FEATURES = ("embedding", "pooled")
TRIPLET_FORMS = ("weighted", "squared")


@dataclasses.dataclass(frozen=True)
@weight_fields(before="smoothing")
class LossWeights:
    """Weights and constants of the objective. A term of weight 0 is not computed.

    identity, triplet  weights of the baseline's terms
    mtc, center, ...   weights of the added terms: one field per entry of `TERMS`, with its default weight
    distil_weight      weight of the distillation, where there is a teacher
    smoothing          label smoothing of the identity loss
    temperature        of the contrastive terms
    query_temperature  temperature of the query regularisation
    margin             of the centre term, of the hetero-centre triplet and of the margin form of L_mtc; at most 2, the
                       largest distance there is. L_cpm has its own
    hop1               "instance" | "identity": see L_mtc
    mtc_form           "infonce" | "margin": see L_mtc
    query_teacher      "better" | "all": see L_mqr
    feature            input of the added terms: "embedding" (after the neck) or "pooled" (before it)
    triplet_feature    input of the triplet: "embedding", scaled to unit length, or "pooled", unscaled, as in AGW
    triplet_form       "weighted", as in AGW, or "squared", as in CAJ
    """

    identity: float = 1.0
    triplet: float = 1.0
    distil_weight: float = 1.0
    smoothing: float = 0.1
    temperature: float = 0.1
    query_temperature: float = 0.1
    margin: float = 0.3
    hop1: str = "instance"
    mtc_form: str = "infonce"
    query_teacher: str = "better"
    feature: str = "embedding"
    triplet_feature: str = "embedding"
    triplet_form: str = "weighted"

    def __post_init__(self) -> None:
        for name in ("identity", "triplet", "distil_weight", *TERMS, "margin"):
            _require(
                0 <= getattr(self, name) < float("inf"), f"{name} must be finite and at least 0", self, name
            )
        for name in ("temperature", "query_temperature"):
            _require(
                0 < getattr(self, name) < float("inf"), f"{name} must be finite and positive", self, name
            )
        _require(0 <= self.smoothing < 1, "smoothing must be in [0, 1)", self, "smoothing")
        _require(self.hop1 in HOP1_FORMS, f"hop1 must be one of {HOP1_FORMS}", self, "hop1")
        _require(self.mtc_form in MTC_FORMS, f"mtc_form must be one of {MTC_FORMS}", self, "mtc_form")
        chosen = f"query_teacher must be one of {QUERY_TEACHERS}"
        _require(self.query_teacher in QUERY_TEACHERS, chosen, self, "query_teacher")
        chosen = f"triplet_form must be one of {TRIPLET_FORMS}"
        _require(self.triplet_form in TRIPLET_FORMS, chosen, self, "triplet_form")
        for name in ("feature", "triplet_feature"):
            _require(getattr(self, name) in FEATURES, f"{name} must be one of {FEATURES}", self, name)

    @property
    def needs_transition(self) -> bool:
        """Whether a term with a positive weight uses transition images."""
        return any(term.transition and getattr(self, name) > 0 for name, term in TERMS.items())


@dataclasses.dataclass(frozen=True, eq=False)
class TriLayout:
    """The order of a batch's rows: visible images, then their transition images in the same order, then infrared ones.

    visible, transition, infrared  numbers of images; `transition` is 0 (baseline A) or equals `visible`
    identities                     int64 [visible + transition + infrared], labels 0..C-1
    """

    visible: int
    transition: int
    infrared: int
    identities: Tensor

    def __post_init__(self) -> None:
        if min(self.visible, self.transition, self.infrared) < 0:
            raise ValueError("the numbers of images must not be negative")
        if self.transition not in (0, self.visible):
            raise ValueError(
                f"{self.visible} visible images have {self.transition} transitions: neither 0 nor all"
            )
        object.__setattr__(self, "identities", label_tensor("identities", self.identities))
        rows = self.visible + self.transition + self.infrared
        if self.identities.shape != (rows,):
            raise ValueError(f"identities must be [{rows}], not {list(self.identities.shape)}")

    @classmethod
    def balanced(cls, identities: Labels, transition: bool = True) -> TriLayout:
        """The layout of a batch of N visible and N infrared images with the same labels int64 [N], as samplers give."""
        identities = label_tensor("identities", identities)
        n, times = len(identities), 3 if transition else 2
        return cls(n, n if transition else 0, n, identities.repeat(times))

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[V+T+I, ...] -> visible [V, ...], transition [T, ...], infrared [I, ...] (views)."""
        visible, transition, infrared = rows.split([self.visible, self.transition, self.infrared])
        return visible, transition, infrared


def total_loss(
    features: Features,
    layout: TriLayout,
    weights: LossWeights,
    ramp: float = 1.0,
    triplet_scale: float = 1.0,
    own: Sequence[OwnLoss] = (),
    teacher: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The objective: (weighted sum, {name: term before weighting, "total": the sum}). The latter have no gradient.

    ramp           in [0, 1], scales the added terms (those of `TERMS` and `own`) during the warm-up
    triplet_scale  scales the triplet
    own            losses of one's own, added terms too
    teacher        embeddings [V+T+I, E] of the same images by the teacher of a distillation
    Raises ValueError if a term needs transition images or logits and there are none.
    """
    if weights.needs_transition and layout.transition == 0 and layout.visible > 0:
        names = ", ".join(name for name, term in TERMS.items() if term.transition)
        raise ValueError(f"the batch has no transition images: set {names} to 0, or pass transitions")
    embedding = features.embedding if weights.feature == "embedding" else features.pooled
    visible, transition, infrared = layout.split(embedding)
    y_visible, _, y_infrared = layout.split(layout.identities)
    parts: dict[str, Tensor] = {}
    if weights.identity > 0:
        if features.logits is None:
            raise ValueError(
                "the identity loss needs logits: the model has no classifier (num_identities is 0)"
            )
        parts["identity"] = identity_loss(features.logits, layout.identities, weights.smoothing)
    if weights.triplet > 0:
        rows = features.pooled if weights.triplet_feature == "pooled" else unit_rows(features.embedding)
        parts["triplet"] = weighted_triplet(rows, layout.identities, weights.triplet_form == "squared")
    for name, term in TERMS.items():
        if getattr(weights, name) > 0:
            images = (visible, transition, infrared) if term.transition else (visible, infrared)
            options = {keyword: getattr(weights, field) for keyword, field in term.options.items()}
            parts[name] = term.loss(*images, y_visible, y_infrared, **options)
    scale = {"identity": 1.0, "triplet": triplet_scale}
    weight = {name: getattr(weights, name) * scale.get(name, ramp) for name in parts}
    if teacher is not None:
        parts["distil"], weight["distil"] = similarity_distillation(embedding, teacher), weights.distil_weight
    for loss in own:
        parts[loss.name], weight[loss.name] = loss(features, layout, embedding), loss.weight * ramp
    total = torch.zeros((), device=embedding.device)
    for name, value in parts.items():
        total = total + weight[name] * value
    return total, {name: value.detach() for name, value in {**parts, "total": total}.items()}


def _require(condition: bool, message: str, weights: LossWeights, name: str) -> None:
    if not condition:
        raise ValueError(f"{message}, not {getattr(weights, name)!r}")
