"""L_mtc: contrastive loss that connects visible to infrared images in two hops, by way of the transition images.

    L_mtc = (hop 1 + hop 2) / 2  [ + w L_direct, off by default ]

    hop 1, visible <-> transition, by instance: InfoNCE in both directions
        -log  e^{s(v_i, t_i)} / ( e^{s(v_i, t_i)} + sum_{j: y_j != y_i} e^{s(v_i, t_j)} )
    hop 2, transition <-> infrared, by identity: supervised contrast in both directions
        -1/|P(i)| sum_{j in P(i)} log  e^{s(t_i, r_j)} / sum_k e^{s(t_i, r_k)}

    v_i, t_i  unit features of visible image i and of its own transition     r_j  of infrared image j
    s(a, b) = a . b / tau     y  identity     P(i)  infrared images of i's identity

In hop 1, other images of the same identity are neither positives nor negatives. With hop1="identity", hop 1 is a
supervised contrast too. form="margin" replaces each term by [margin + d(positive) - d(negative)]_+ with the farthest
positive and the nearest negative; d is the Euclidean distance of unit features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .direct import direct_contrastive
from .distances import (
    Labels,
    check_batch,
    check_temperature,
    contrast,
    margin_contrast,
    no_autocast,
    pairwise_distances,
    unit_rows,
)

HOP1_FORMS = ("instance", "identity")
MTC_FORMS = ("infonce", "margin")


def modality_transition_contrastive(
    visible: Tensor,
    transition: Tensor,
    infrared: Tensor,
    identities: Labels,
    infrared_identities: Labels | None = None,
    *,
    temperature: float = 0.1,
    hop1: str = "instance",
    form: str = "infonce",
    margin: float = 0.3,
    direct_weight: float = 0.0,
) -> Tensor:
    """Visible [N,D], their transitions [N,D] row by row, infrared [M,D], integer labels [N] and [M] -> scalar.

    infrared_identities  None: the same as `identities`
    temperature          of the InfoNCE form and of L_direct
    hop1                 "instance" | "identity"
    form                 "infonce" | "margin"
    margin               of the margin form
    direct_weight        w, the weight of L_direct
    Rows are normalised here. A hop without images on one side is 0. Images without a positive are left out, in the
    margin form also those without a negative. For a single identity, hop 1 by instance is 0 and hop 2 is at least
    (log M + log N) / 2; the margin form is 0. Raises ValueError for other shapes or options.
    """
    identities, infrared_identities = check_batch(
        visible, infrared, identities, infrared_identities, transition
    )
    check_temperature(temperature)
    if hop1 not in HOP1_FORMS or form not in MTC_FORMS:
        raise ValueError(
            f"hop1 must be one of {HOP1_FORMS} and form one of {MTC_FORMS}, not {hop1!r} and {form!r}"
        )

    def hop(a: Tensor, b: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        if form == "margin":
            return margin_contrast(pairwise_distances(a, b), positive, negative, margin)
        return contrast(a @ b.T / temperature, positive, positive | negative)

    with no_autocast(visible):
        v, t, r = unit_rows(visible), unit_rows(transition), unit_rows(infrared)
        same_visible = identities[:, None] == identities[None, :]
        same_infrared = identities[:, None] == infrared_identities[None, :]
        own = torch.eye(len(v), dtype=torch.bool, device=v.device) if hop1 == "instance" else same_visible
        loss = (hop(v, t, own, ~same_visible) + hop(t, r, same_infrared, ~same_infrared)) / 2
    if direct_weight:
        loss = loss + direct_weight * direct_contrastive(
            visible, infrared, identities, infrared_identities, temperature=temperature
        )
    return loss
