"""Makes the bytes of safetensors files, and checksums of tensors. Equal tensors and metadata give equal bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from safetensors.torch import save
from torch import Tensor

_ALIGNMENT = 8


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The content of a safetensors file, with its metadata sorted by key.

    safetensors sorts only tensors; it writes metadata in an order that differs from call to call.
    """
    content = save(dict(tensors), metadata=None if metadata is None else dict(metadata))
    if metadata is None or len(metadata) < 2:
        return content
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return b"".join([len(text).to_bytes(8, "little"), text, memoryview(content)[start:]])


def tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, as hex digits, of the names, types, shapes and bytes of tensors on the CPU, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)};".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
