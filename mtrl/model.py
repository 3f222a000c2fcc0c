"""The re-identification model: backbone, pooling, neck. The transition images of training leave no trace in
it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtrl.backbone import Backbone
from mtrl.card import model_card
from mtrl.checkpoint import CLASSIFIER, save_checkpoint, tensor_digest
from mtrl.config import Modality, ModelConfig
from mtrl.head import BNNeck
from mtrl.hub import upload_folder
from mtrl.images import ImageSource, check_list, iter_batches, to_batch


@dataclasses.dataclass(frozen=True)
class Features:
    """What one forward pass gives, in training as in evaluation.

    pooled     float32 [B,D], before the neck
    embedding  float32 [B,D], after the neck, not normalised; its direction is what retrieval compares
    logits     float32 [B,num_identities], None for a model without a classifier
    """

    pooled: Tensor
    embedding: Tensor
    logits: Tensor | None


class MTRL(nn.Module):
    """A network for visible and infrared images alike.

    pretrained: True takes timm's ImageNet weights (from its cache or the Hugging Face Hub); a path takes a
    local .safetensors or .pth file of timm's; False, the default, starts at random and needs no network.
    Raises ValueError for a configuration that cannot be built, OSError when weights cannot be downloaded.
    """

    def __init__(self, config: ModelConfig, pretrained: bool | str | Path = False) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config, pretrained)
        self.neck = BNNeck(self.backbone.dim, config.num_identities)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)  # convolutions are faster so, on a CPU by a third and more

    @property
    def dim(self) -> int:
        """Length D of an embedding."""
        return self.backbone.dim

    def forward(self, images: Tensor, modality: Tensor | Modality | None = None) -> Features:
        """images [B,3,H,W], normalised (see `preprocess`); modality integers [B] or one for all -> Features.

        Only a dual stem reads the modality; transition images go through it as infrared ones.
        """
        pooled = self.backbone(images, modality)
        with torch.autocast(pooled.device.type, enabled=False):
            embedding, logits = self.neck(pooled)
        return Features(pooled, embedding, logits)

    def preprocess(self, images: Sequence[ImageSource] | Tensor) -> Tensor:
        """Pictures, or a tensor [N,3,h,w] (uint8, or floating in [0,1]) -> normalised [N,3,H,W] on the
        model's device.
        """
        return self.normalise(to_batch(images, self.config.image_size))

    def encode(
        self,
        images: Sequence[ImageSource] | Tensor,
        modality: str | int | Modality = "visible",
        batch_size: int = 64,
        *,
        bf16: bool = False,
    ) -> Tensor:
        """Pictures or paths, or a tensor [N,3,h,w] -> float32 [N,D] on the CPU, rows of unit length, in input
        order.

        Works in evaluation mode whatever the mode of the model, and puts that back. Files are decoded batch by
        batch, so memory does not grow with their number; on a GPU while it works on the batch before. `bf16`
        computes the backbone in bfloat16: faster, a little coarser. Raises ValueError or OSError, with its name,
        for an image that cannot be read.
        """
        kind = Modality.parse(modality)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        check_list(images)
        result = torch.empty(len(images), self.dim)
        start = 0
        with evaluating(self), torch.inference_mode():
            # On a CPU the network keeps all cores busy, and threads beside it cost it more than they save.
            ahead = self.mean.device.type != "cpu"
            for batch in iter_batches(images, self.config.image_size, batch_size, ahead=ahead):
                x = self.normalise(batch)
                with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
                    embedding = self(x, kind).embedding
                result[start : start + len(batch)] = F.normalize(embedding.float()).cpu()
                start += len(batch)
        return result

    def fingerprint(self) -> str:
        """SHA-256 over what decides an embedding: weights and input settings. Galleries remember it."""
        weights = {name: value.cpu() for name, value in self.state_dict().items() if name != CLASSIFIER}
        settings = {**self.config.to_dict(), "num_identities": 0}
        text = json.dumps(settings, sort_keys=True) + tensor_digest(weights)
        return hashlib.sha256(text.encode()).hexdigest()

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        include_classifier: bool = False,
        dtype: str | torch.dtype | None = None,
        card: str | None = None,
    ) -> None:
        """Writes a checkpoint that `load_pretrained` reads; see `mtrl.checkpoint.save_checkpoint`."""
        save_checkpoint(self, folder, include_classifier=include_classifier, dtype=dtype, card=card)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        tag: str | None = None,
        commit_message: str = "Upload model",
        card: str | None = None,
    ) -> str:
        """Uploads what `save_pretrained` writes to the Hugging Face Hub; returns the commit's address.

        revision: a branch, made if need be; tag: a name for this commit. token: default is the one logged in.
        card: README.md there, by default one without figures (`python -m train publish` measures them). Raises
        ValueError for an impossible name, OSError when the Hub refuses or cannot be reached.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, card=card or model_card(self.config))
            return upload_folder(
                folder,
                repo_id,
                private=private,
                token=token,
                revision=revision,
                tag=tag,
                commit_message=commit_message,
            )

    def normalise(self, images: Tensor) -> Tensor:
        """float [N,3,H,W] in [0,1], already of the model's size -> normalised, on the model's device. Not checked."""
        return (images.to(self.mean.device) - self.mean).div_(self.std)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while. Modules that trained before train again; a frozen part stays frozen."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
