"""The losses, one file each: distance-based, without parameters."""

from .direct import direct_contrastive
from .identity import identity_loss
from .modality_center import modality_center
from .modality_query import modality_query_regularization
from .modality_transition import modality_transition_contrastive
from .total import LossWeights, TriLayout, total_loss
from .triplet import weighted_triplet

__all__ = [
    "LossWeights",
    "TriLayout",
    "direct_contrastive",
    "identity_loss",
    "modality_center",
    "modality_query_regularization",
    "modality_transition_contrastive",
    "total_loss",
    "weighted_triplet",
]
