"""L_mqr: a visible image and its transition image should retrieve the same infrared images, and the other way round.

    L_mqr = ( mean_i KL(p^t_i || p^v_i)  +  mean_j KL(q^t_j || q^v_j) ) / 2
    p^v_i = softmax_j(v_i . r_j / tau)     visible image i as a query among the infrared images
    p^t_i = softmax_j(t_i . r_j / tau)     its transition image as a query among the infrared images
    q^v_j = softmax_i(r_j . v_i / tau)     infrared image j as a query among the visible images
    q^t_j = softmax_i(r_j . t_i / tau)     infrared image j as a query among the transition images

    v_i, t_i, r_j  unit features of visible image i, of its transition image, and of infrared image j

A transition image is nearer to infrared, so it is the teacher: p^t and q^t are constants without gradient. With
identities y, the KL of a row counts only if the teacher gives more probability to images of the right identity than
the student: sum_j [y_j = y_i] p^t_ij > sum_j [y_j = y_i] p^v_ij, and likewise for q. Other rows count as 0 in the mean.
Without identities every row counts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .distances import Labels, as_labels, check_features, check_temperature, no_autocast, unit_rows

QUERY_TEACHERS = ("better", "all")  # which rows count: those with the better teacher, or all


def modality_query_regularization(
    visible: Tensor,
    transition: Tensor,
    infrared: Tensor,
    identities: Labels | None = None,
    infrared_identities: Labels | None = None,
    *,
    temperature: float = 0.1,
    teachers: str = "better",
) -> Tensor:
    """Visible [N,D], their transitions [N,D] row by row, infrared [M,D] -> scalar.

    identities           integers [N] of the visible images; None: every row counts
    infrared_identities  integers [M]; None: the same as `identities`
    teachers             "better": rows count as described above; "all": every row counts, whatever the identities
    Rows are normalised here. The loss is 0 exactly if all distributions of visible and transition images agree in the
    rows that count. So it is 0 for identical features, and without visible or infrared images. Distributions over a
    single candidate always agree. Raises ValueError for other shapes, or if only the infrared identities are given.
    """
    check_features("visible", visible)
    check_features("transition", transition)
    check_features("infrared", infrared, like=visible)
    if visible.shape != transition.shape:
        raise ValueError("visible and transition must be aligned row by row")
    check_temperature(temperature)
    if teachers not in QUERY_TEACHERS:
        raise ValueError(f"teachers must be one of {QUERY_TEACHERS}, not {teachers!r}")
    if teachers == "all":
        identities = infrared_identities = None
    same = None
    if identities is not None:
        infrared_identities = identities if infrared_identities is None else infrared_identities
        identities = as_labels("identities", identities, visible)
        infrared_identities = as_labels("infrared_identities", infrared_identities, infrared)
        same = identities[:, None] == infrared_identities
    elif infrared_identities is not None:
        raise ValueError("infrared_identities are given, but no identities to compare them with")
    with no_autocast(visible):
        v, t, r = unit_rows(visible), unit_rows(transition).detach(), unit_rows(infrared)
        student, teacher = v @ r.T / temperature, t @ r.T.detach() / temperature
        if 0 in student.shape:
            return student.sum()
        as_gallery = None if same is None else same.T
        return (_divergence(teacher, student, same) + _divergence(teacher.T, student.T, as_gallery)) / 2


def _divergence(teacher: Tensor, student: Tensor, same: Tensor | None) -> Tensor:
    """Mean over rows of KL(softmax(teacher) || softmax(student)), computed from log-probabilities -> scalar.

    same  mask of the columns of the row's identity. A row counts as 0 unless the teacher gives them more probability
          than the student; None: every row counts
    """
    log_p, log_q = torch.log_softmax(teacher, dim=1), torch.log_softmax(student, dim=1)
    rows = (log_p.exp() * (log_p - log_q)).sum(dim=1)
    if same is not None:
        more = log_p.exp() - log_q.detach().exp()
        # More probability for the right columns means less for the others. Both are tested, because of rounding in rows
        # that have only right or only other columns.
        rows = rows * ((more * same).sum(dim=1).gt(0) & (more * ~same).sum(dim=1).lt(0))
    return rows.mean()
