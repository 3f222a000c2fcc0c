"""From a backbone's output to an embedding: generalised-mean pooling and the batch-normalisation neck."""

from __future__ import annotations

from torch import Tensor, nn

GEM_POWER = 3.0
_EPS = 1e-6


def gem(x: Tensor, dim: tuple[int, ...]) -> Tensor:
    """Generalised mean over `dim` with the fixed power 3: (mean of x^3)^(1/3), x clamped to at least 1e-6."""
    return x.clamp(min=_EPS).pow_(GEM_POWER).mean(dim).pow(1 / GEM_POWER)


class BNNeck(nn.Module):
    """The batch-normalisation neck: pooled features -> embedding, by batch normalisation without shift, and logits."""

    def __init__(self, dim: int, num_identities: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim)
        self.norm.bias.requires_grad_(False)
        self.classifier: nn.Linear | None = None
        if num_identities:
            self.classifier = nn.Linear(dim, num_identities, bias=False)
            nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor | None]:
        """pooled [B,D] -> (embedding [B,D], logits [B,num_identities] or None)."""
        embedding = self.norm(pooled)
        return embedding, None if self.classifier is None else self.classifier(embedding)


def suitable_pooling(x: Tensor, *, class_token: bool, timm_pool: str) -> str:
    """The pooling that suits a backbone: "token", "avg" or "gem".

    x            the backbone's features of noise images
    class_token  whether it has a class token
    timm_pool    timm's pooling for it
    Tokens: "token" if timm classifies by the class token, else "avg". Maps: "gem" if no value is negative (after a
    ReLU), else "avg", since GeM would remove negative values.
    """
    if x.ndim == 3:
        return "token" if class_token and timm_pool == "token" else "avg"
    return "avg" if bool((x < 0).any()) else "gem"


def pool(x: Tensor, pooling: str, *, channels_last: bool, prefix_tokens: int, class_token: bool) -> Tensor:
    """Pools a map [B,C,h,w] (or [B,h,w,C]) or tokens [B,N,C] -> float32 [B,C].

    Of tokens, "token" takes the class token or, without one, the mean of the patch tokens; "avg" and "gem" pool the
    patch tokens. Raises ValueError for "token" on a map, for tokens without patch tokens, and for "auto".
    """
    if pooling == "auto":
        raise ValueError(
            'pooling "auto" was left open: take the config of a built model, or name its pooling'
        )
    x = x.float()
    if x.ndim == 3:
        if pooling == "token" and class_token:
            return x[:, 0]
        x = x[:, prefix_tokens:]
        if not x.shape[1]:
            raise ValueError(
                f'pooling "{pooling}" needs patch tokens, and this backbone gives none; use "token"'
            )
        return gem(x, (1,)) if pooling == "gem" else x.mean(1)
    if pooling == "token":
        raise ValueError('pooling "token" needs a backbone with tokens; use "gem" or "avg" for feature maps')
    space = (1, 2) if channels_last else (2, 3)
    return gem(x, space) if pooling == "gem" else x.mean(space)
