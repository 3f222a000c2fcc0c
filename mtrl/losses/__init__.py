"""Training losses, one file each. None has parameters of its own; `TERMS` lists those that MTRL adds.

To add a loss: write its file and one entry of `TERMS` (in `terms.py`).
"""

from .direct import direct_contrastive
from .distillation import similarity_distillation
from .field.cpm import center_pair_mining
from .field.dcl import discriminative_center
from .field.hetero_center_triplet import hetero_center_triplet
from .field.msel import modality_shared_enhancement
from .identity import identity_loss
from .modality_center import modality_center
from .modality_query import modality_query_regularization
from .modality_transition import modality_transition_contrastive
from .own import OwnLoss, own_loss
from .terms import TERMS, Term
from .total import LossWeights, TriLayout, total_loss
from .triplet import weighted_triplet

__all__ = [
    "TERMS",
    "LossWeights",
    "OwnLoss",
    "Term",
    "TriLayout",
    "center_pair_mining",
    "direct_contrastive",
    "discriminative_center",
    "hetero_center_triplet",
    "identity_loss",
    "modality_center",
    "modality_query_regularization",
    "modality_shared_enhancement",
    "modality_transition_contrastive",
    "own_loss",
    "similarity_distillation",
    "total_loss",
    "weighted_triplet",
]
