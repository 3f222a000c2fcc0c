"""The loss terms of a translator's training, one file each."""

from .adversarial import discriminator_loss, generator_loss
from .difference import mean_difference
from .patch_contrast import patch_contrast
from .structure import structure_loss

__all__ = ["discriminator_loss", "generator_loss", "mean_difference", "patch_contrast", "structure_loss"]
