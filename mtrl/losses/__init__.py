"""Training losses, one file each. None has parameters of its own; `TERMS` lists those that MTRL adds.

To add a loss: write its file and one entry of `TERMS` (in `terms.py`).
"""

from .direct import direct_contrastive
from .identity import identity_loss
from .modality_center import modality_center
from .modality_query import modality_query_regularization
from .modality_transition import modality_transition_contrastive
from .terms import TERMS, Term
from .total import LossWeights, TriLayout, total_loss
from .triplet import weighted_triplet

__all__ = [
    "TERMS",
    "LossWeights",
    "Term",
    "TriLayout",
    "direct_contrastive",
    "identity_loss",
    "modality_center",
    "modality_query_regularization",
    "modality_transition_contrastive",
    "total_loss",
    "weighted_triplet",
]
