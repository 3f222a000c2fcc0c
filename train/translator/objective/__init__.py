"""The loss terms of a translator's training, one file each."""

from .adversarial import discriminator_loss, generator_loss
from .identity import identity_loss
from .patch_contrast import patch_contrast
from .structure import structure_loss

__all__ = ["discriminator_loss", "generator_loss", "identity_loss", "patch_contrast", "structure_loss"]
