"""The re-identification model `MTRL`: a backbone, pooling and a batch-normalisation neck.

The model knows only visible and infrared images. Training gives it transition images as the one or the other, as their
translator says: infrared, but for few.
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

from mtrl.files.images import ImageSource, check_list, iter_batches, to_batch
from mtrl.files.levels import ValueRange
from mtrl.files.tensor_file import tensor_digest
from mtrl.hub.client import upload_folder
from mtrl.models.backbone import Backbone
from mtrl.models.card import model_card
from mtrl.models.checkpoint.checks import FORMAT, check_loads
from mtrl.models.checkpoint.weights import parse_dtype, stored, write_files
from mtrl.models.checkpoint.wrappers import plain_state
from mtrl.models.config import Modality, ModelConfig
from mtrl.models.head import BNNeck

CLASSIFIER = "neck.classifier.weight"


@dataclasses.dataclass(frozen=True)
class Features:
    """The result of a forward pass, in training and in evaluation.

    pooled     float32 [B,D], features before the neck
    embedding  float32 [B,D], features after the neck, not normalised; retrieval compares their directions
    logits     float32 [B,num_identities], None for a model without a classifier
    """

    pooled: Tensor
    embedding: Tensor
    logits: Tensor | None


class MTRL(nn.Module):
    """One network that embeds visible and infrared images.

    config      the configuration. The attribute `config` has the chosen pooling in place of "auto"
    pretrained  True: timm's ImageNet weights, from its cache or the Hugging Face Hub; a path: a local .safetensors or
                .pth file of timm's weights; False: random weights, without a download
    Raises ValueError for a configuration that cannot be built, and OSError if weights cannot be downloaded.
    """

    def __init__(self, config: ModelConfig, pretrained: bool | str | Path = False) -> None:
        super().__init__()
        self.backbone = Backbone(config, pretrained)
        self.config = dataclasses.replace(config, pooling=self.backbone.pooling)
        self.dim = self.backbone.dim  # length D of an embedding
        self.neck = BNNeck(self.dim, config.num_identities)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer(
            "mean", torch.tensor(config.mean, dtype=torch.float32).view(3, 1, 1), persistent=False
        )
        self.register_buffer(
            "std", torch.tensor(config.std, dtype=torch.float32).view(3, 1, 1), persistent=False
        )
        self.to(memory_format=torch.channels_last)  # makes convolutions faster, on a CPU by a third or more

    def forward(self, images: Tensor, modality: Tensor | Modality | None = None) -> Features:
        """Normalised images [B,3,H,W] (see `preprocess`) -> `Features`.

        modality  integers [B], or one for all images. A dual stem needs it, and a modality embedding in training
        """
        pooled = self.backbone(images, modality)
        with torch.autocast(pooled.device.type, enabled=False):
            embedding, logits = self.neck(pooled.to(self.mean.dtype))
        return Features(pooled, embedding, logits)

    def preprocess(
        self, images: Sequence[ImageSource] | Tensor, value_range: ValueRange | None = None
    ) -> Tensor:
        """Images -> normalised tensor [N,3,H,W] on the model's device, in the type of its weights.

        images  a list of images, or a tensor [N,3,h,w], uint8 or floating in [0,1]. `value_range` as in `encode`
        """
        return self.normalise(to_batch(images, self.config.image_size, value_range))

    def encode(
        self,
        images: Sequence[ImageSource] | Tensor,
        modality: str | int | Modality = "visible",
        batch_size: int = 64,
        *,
        bf16: bool = False,
        value_range: ValueRange | None = None,
    ) -> Tensor:
        """Embeddings of images: float32 [N,D] on the CPU, rows of unit length, in the order of the images.

        images       paths, PIL images or arrays in a list or another sequence (such as a column of a table); or a
                     tensor [N,3,h,w], uint8 or floating in [0,1]
        modality     "visible" | "infrared"
        batch_size   number of images that are decoded and encoded at once, so that memory does not grow with N
        bf16         True computes the backbone in bfloat16: faster, a little less exact. It has no effect on a model
                     that was converted by `half()`, `bfloat16()` or `double()`, which computes in its own type
        value_range  (low, high), in the images' units, that scales images of more than 8 bits and keeps them
                     comparable; None: each image's own range (see `mtrl.files.levels`)

        The model is in evaluation mode meanwhile, and gets its former mode back. Raises ValueError or OSError, with the
        image's name, for an image that cannot be read.
        """
        kind = Modality.parse(modality)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        images = check_list(images)
        result = torch.empty(len(images), self.dim)
        start = 0
        with evaluating(self), torch.inference_mode():
            # On a CPU the network uses all cores, so decoding at the same time would slow it down.
            ahead = self.mean.device.type != "cpu"
            size = self.config.image_size
            for batch in iter_batches(images, size, batch_size, value_range, ahead=ahead):
                x = self.normalise(batch)
                with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16 and x.dtype == torch.float32):
                    embedding = self(x, kind).embedding
                result[start : start + len(batch)] = F.normalize(embedding.float()).cpu()
                start += len(batch)
        return result

    def fingerprint(self) -> str:
        """SHA-256, as hex digits, of the weights and input settings: equal for models that give equal embeddings.

        Galleries store it, and refuse queries of another model.
        """
        weights = {name: value.cpu() for name, value in plain_state(self).items() if name != CLASSIFIER}
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
        """Writes a checkpoint that `load_pretrained` reads: `config.json` and `model.safetensors`, each atomically.

        include_classifier  whether to save the classifier of the training identities
        dtype               "float16" or "bfloat16" stores matrices in half the space; loading makes them float32 again
        card                text of a `README.md`, or None
        Weights of compiled or parallel modules are stored under their plain names. Raises ValueError for values that
        are not finite (or overflow float16), and for a network that was changed so that it could not be loaded. Raises
        OSError if the folder cannot be written.
        """
        keep = include_classifier and self.config.num_identities > 0
        kind = parse_dtype(dtype)
        tensors = {
            name: stored(name, value, kind)
            for name, value in plain_state(self).items()
            if keep or name != CLASSIFIER
        }
        config = self.config if keep else dataclasses.replace(self.config, num_identities=0)
        check_loads(tensors, config, MTRL)
        write_files(Path(folder), FORMAT, config.to_dict(), tensors, card)

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

        private   whether a repository that is made here is private
        token     access token; None: the one logged in
        revision  a branch, which is made if it does not exist
        tag       name for this commit
        card      text of README.md; None: a card without metrics (`python -m train publish` measures them)
        Raises ValueError for an impossible name, OSError if the Hub refuses or cannot be reached.
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
        """Images [N,3,H,W] in [0,1] of the model's size -> normalised, on the model's device, in its weights' type.

        The arithmetic is float32. The input is not checked.
        """
        mean, std = self.mean, self.std
        # In a model of reduced precision, the buffers were rounded together with the weights.
        if mean.dtype in (torch.float16, torch.bfloat16):
            mean, std = (mean.new_tensor(value, dtype=torch.float32).view(3, 1, 1) for value in
                         (self.config.mean, self.config.std))  # fmt: skip
        return (images.to(mean.device) - mean).div_(std).to(self.neck.norm.weight.dtype)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Context manager: puts a model into evaluation mode, and afterwards each module back into its former mode."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
