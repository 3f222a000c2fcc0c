"""L_mqr: asking the same question in both spectra gets the same answer.

    L_mqr = ( mean_i KL(p^t_i || p^v_i)  +  mean_j KL(q^t_j || q^v_j) ) / 2
    p^v_i = softmax_j(v_i . r_j / tau)     what visible image i, as a query, finds among the infrared images
    p^t_i = softmax_j(t_i . r_j / tau)     what its transition finds
    q^v_j = softmax_i(r_j . v_i / tau)     what infrared image j finds among the visible images
    q^t_j = softmax_i(r_j . t_i / tau)     ... and among their transitions

    v_i, t_i  unit features of visible image i and of its own transition     r_j  of infrared image j

The transition is nearer to infrared, so it teaches: p^t and q^t are constants, and no gradient passes through
them. No identity labels are needed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .distances import check_features, check_temperature, no_autocast, unit_rows


def modality_query_regularization(
    visible: Tensor, transition: Tensor, infrared: Tensor, *, temperature: float = 0.1
) -> Tensor:
    """Visible [N,D], their transitions [N,D] row by row, infrared [M,D] -> scalar.

    Rows are normalised here. Zero iff visible and transition answer alike; hence 0 for identical features and
    without visible or infrared images (and a side with a single candidate always answers alike).
    Raises ValueError for other shapes.
    """
    check_features("visible", visible)
    check_features("transition", transition)
    check_features("infrared", infrared, like=visible)
    if visible.shape != transition.shape:
        raise ValueError("visible and transition must be aligned row by row")
    check_temperature(temperature)
    with no_autocast(visible):
        v, t, r = unit_rows(visible), unit_rows(transition).detach(), unit_rows(infrared)
        student, teacher = v @ r.T / temperature, t @ r.T.detach() / temperature
        if 0 in student.shape:
            return student.sum()
        return (_divergence(teacher, student) + _divergence(teacher.T, student.T)) / 2


def _divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """Mean over rows of KL(softmax(teacher) || softmax(student)), from log-probabilities throughout."""
    log_p, log_q = torch.log_softmax(teacher, dim=1), torch.log_softmax(student, dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()
