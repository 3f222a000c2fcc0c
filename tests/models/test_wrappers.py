"""Weights of compiled, parallel and averaged modules are stored under plain names, and files are the same bytes."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from mtrl import MTRL, load_pretrained
from mtrl.files.tensor_file import tensor_bytes, tensor_digest
from mtrl.models.checkpoint.wrappers import plain_names, plain_state, unwrapped
from mtrl.models.config import ModelConfig
from mtrl.translate import Learned, load_translator
from mtrl.translate.files import fingerprint, save_translator
from mtrl.translate.learned import LearnedConfig

CONFIG = ModelConfig("test_resnet", (64, 32), num_identities=3)
IMAGES = torch.rand(3, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def network() -> MTRL:
    torch.manual_seed(0)
    return MTRL(CONFIG).eval()


def compiled(module: nn.Module) -> nn.Module:
    return torch.compile(module, backend="eager")  # type: ignore[return-value]


def compiled_backbone(model: MTRL) -> MTRL:
    model.backbone = compiled(model.backbone)
    return model


def compiled_body(model: MTRL) -> MTRL:
    model.backbone.body = compiled(model.backbone.body)
    return model


def compiled_in_place(model: MTRL) -> MTRL:
    model.backbone.compile(backend="eager")
    return model


def parallel_backbone(model: MTRL) -> MTRL:
    model.backbone = nn.DataParallel(model.backbone)
    return model


def everything(model: MTRL) -> MTRL:
    model.backbone.body = compiled(model.backbone.body)
    model.backbone = compiled(nn.DataParallel(model.backbone))
    model.neck = compiled(model.neck)
    return compiled(model)


WAYS = [compiled_backbone, compiled_body, compiled_in_place, parallel_backbone, everything]


@pytest.mark.parametrize("wrap", WAYS)
def test_wrapped_parts_are_saved_as_plain_ones(wrap: Callable[[MTRL], MTRL], tmp_path: Path) -> None:
    plain, wrapped, classifier = network(), wrap(network()), wrap is everything
    assert wrapped.fingerprint() == plain.fingerprint()  # a gallery of the one is one of the other
    wanted = plain.encode(IMAGES)
    if wrap in (compiled_body, parallel_backbone):
        assert torch.allclose(wrapped.encode(IMAGES), wanted, atol=1e-6)
    plain.save_pretrained(tmp_path / "plain", include_classifier=classifier)
    wrapped.save_pretrained(tmp_path / "wrapped", include_classifier=classifier)
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "wrapped" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert torch.equal(load_pretrained(tmp_path / "wrapped").encode(IMAGES), wanted)


def test_an_average_of_a_wrapped_model_is_plain_too() -> None:
    names = list(network().state_dict())
    for model in (network(), everything(network())):
        assert list(plain_state(AveragedModel(model))) == names
        copied = unwrapped(copy.deepcopy(model))
        assert isinstance(copied, MTRL) and list(copied.state_dict()) == names


@pytest.mark.parametrize("wrap", WAYS)
def test_files_with_the_names_of_wrapped_parts_still_load(
    wrap: Callable[[MTRL], MTRL], tmp_path: Path
) -> None:
    """What was saved before names were made plain: the checksum is over the names in the file."""
    network().save_pretrained(tmp_path)
    wrapped = wrap(network()).state_dict()
    tensors = {
        name: value.clone().contiguous() for name, value in wrapped.items() if "classifier" not in name
    }
    values = {**json.loads((tmp_path / "config.json").read_text()), "sha256": tensor_digest(tensors)}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt", "mtrl": json.dumps(values)})
    assert torch.equal(load_pretrained(tmp_path).encode(IMAGES), network().encode(IMAGES))


def test_names_are_made_plain_only_where_that_names_each_tensor_once() -> None:
    assert plain_names(["a._orig_mod.b", "module.c"], ["a.b", "c"]) == {
        "a._orig_mod.b": "a.b",
        "module.c": "c",
    }
    assert plain_names(["a.module.b"], ["a.module.b"]) == {"a.module.b": "a.module.b"}
    assert plain_names(["a._orig_mod.b", "a.b"], ["a.b"]) == {"a._orig_mod.b": "a._orig_mod.b", "a.b": "a.b"}


@pytest.mark.parametrize("change", ["added", "removed", "wider", "integers"])
def test_a_network_that_could_not_be_loaded_again_is_not_saved(change: str, tmp_path: Path) -> None:
    model = network()
    if change == "added":
        model.adapter = nn.Linear(2, 2)
    elif change == "removed":
        model.backbone.body.conv1 = nn.Identity()
    elif change == "wider":
        model.neck.norm = nn.BatchNorm1d(7)
    else:
        model.neck.norm.weight = nn.Parameter(torch.ones(96, dtype=torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match="could not be loaded again"):
        model.save_pretrained(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_compiled_translator_is_saved_as_a_plain_one(tmp_path: Path) -> None:
    translator = Learned(LearnedConfig(width=8, deep=8, blocks=1)).eval()
    save_translator(translator, tmp_path / "plain")
    wrapped = compiled(translator)
    save_translator(wrapped, tmp_path / "compiled")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "compiled" / name).read_bytes()
    assert (
        fingerprint(translator) == fingerprint(wrapped) == fingerprint(load_translator(tmp_path / "compiled"))
    )


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    """safetensors alone writes the entries of metadata in another order at every call."""
    tensors = {"b": torch.arange(5), "a": torch.rand(2, 3), "é": torch.zeros(0, 4)}
    metadata = {"format": "pt", "names": '["Zoë", "\\\\n"]', "x": "", "y": "\u202f", "sha256": "0" * 64}
    contents = {tensor_bytes(dict(list(tensors.items())[:: 1 - 2 * (n % 2)]), metadata) for n in range(40)}
    assert len(contents) == 1
    path = tmp_path / "x.safetensors"
    path.write_bytes(contents.pop())
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == metadata
    assert all(torch.equal(value, tensors[name]) for name, value in load_file(path).items())
    assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0
    digests = set()
    for _ in range(8):
        network().save_pretrained(tmp_path, include_classifier=True, card="# x")
        digests.add(hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest())
    assert len(digests) == 1
