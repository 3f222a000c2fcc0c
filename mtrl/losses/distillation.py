"""L_distil: the images of a batch are as similar to each other as a trained model, the teacher, finds them.

    L_distil = mean_i KL( p^T_i || p^S_i )
    p_i      = softmax over j != i of  f_i . f_j / tau

    f_i  unit feature of image i of any kind (visible, transition, infrared): in p^S of the network that is trained, in
         p^T of the teacher, whose features may have another length

Each image is a query among all others, so what is learned is the teacher's ranking, across the spectra and within them.
It is the distillation of similarities of Passalis and Tefas (ECCV 2018), with the softmax of the other terms here.
The teacher gets no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .distances import check_features, check_temperature, no_autocast, unit_rows


def similarity_distillation(student: Tensor, teacher: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Features of the same images, [N,D] of the student and [N,E] of the teacher -> scalar.

    Rows are normalised here. 0 exactly if both give the same similarities (up to a constant for each image), and for
    fewer than three images, which have no ranking. Raises ValueError for other shapes.
    """
    check_features("student", student)
    check_features("teacher", teacher)
    check_temperature(temperature)
    if len(student) != len(teacher):
        raise ValueError(f"{len(student)} rows of the student have {len(teacher)} of the teacher")
    with no_autocast(student):
        if len(student) < 3:
            return unit_rows(student).sum() * 0
        log_p, log_q = (_log_shares(unit_rows(x), temperature) for x in (teacher.detach(), student))
        return (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()


def _log_shares(features: Tensor, temperature: float) -> Tensor:
    """Unit rows [N,D] -> log p [N,N-1], each row without the image itself."""
    n = len(features)
    similarity = features @ features.T / temperature
    others = similarity.flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)  # all but the diagonal
    return torch.log_softmax(others, dim=1)
