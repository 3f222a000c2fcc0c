"""The Hub round trip: the real client against a stub that speaks the Hub's HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_stub import TOKEN, Hub, Repo, running_hub

from mtrl import MTRL, load_pretrained
from mtrl.checkpoint import read_checkpoint
from mtrl.config import ModelConfig
from mtrl.hub import upload_folder

CONFIG = ModelConfig("test_resnet", (64, 32), num_identities=3)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with running_hub(monkeypatch, str(tmp_path / "cache")) as server:
        yield server


@pytest.fixture(scope="module")
def model() -> MTRL:
    torch.manual_seed(0)
    return MTRL(CONFIG).eval()


def same(a: MTRL, b: MTRL) -> bool:
    weights = b.state_dict()
    return all(torch.equal(v, weights[n]) for n, v in a.state_dict().items() if "classifier" not in n)


def test_push_then_load_gives_the_same_bits(hub: Hub, model: MTRL) -> None:
    address = model.push_to_hub("ann/reid", token=TOKEN, card="# A card\n")
    assert address.startswith(f"{hub.url}/ann/reid/commit/")
    repo = hub.repos["ann/reid"]
    assert set(repo.commits[repo.branches["main"]]) == {"config.json", "model.safetensors", "README.md"}
    loaded = load_pretrained("ann/reid")
    assert same(model, loaded)
    assert loaded.config.num_identities == 0
    images = torch.randint(0, 256, (2, 3, 50, 30), dtype=torch.uint8)
    assert torch.equal(loaded.encode(images), model.encode(images))
    model.push_to_hub("ann/reid", token=TOKEN)  # a repository that exists is used


def test_revisions_are_kept_apart(hub: Hub, model: MTRL) -> None:
    torch.manual_seed(1)
    other = MTRL(CONFIG).eval()
    model.push_to_hub("ann/reid", token=TOKEN)
    address = other.push_to_hub("ann/reid", token=TOKEN, revision="v2")
    assert same(load_pretrained("ann/reid"), model)
    assert same(load_pretrained("ann/reid", revision="v2"), other)
    assert same(load_pretrained("ann/reid", revision=address.rsplit("/", 1)[1]), other)
    with pytest.raises(FileNotFoundError, match="no revision v3"):
        load_pretrained("ann/reid", revision="v3")


def test_private_needs_the_token(hub: Hub, model: MTRL) -> None:
    model.push_to_hub("ann/secret", token=TOKEN, private=True)
    assert hub.repos["ann/secret"].private
    with pytest.raises(FileNotFoundError, match="log in"):
        load_pretrained("ann/secret")
    assert same(load_pretrained("ann/secret", token=TOKEN), model)


def test_what_is_missing_is_named(hub: Hub, model: MTRL) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder ann/none here and no model ann/none on the Hub"):
        load_pretrained("ann/none")
    hub.repos["ann/empty"] = Repo()
    with pytest.raises(FileNotFoundError, match=r"lacks config\.json"):
        load_pretrained("ann/empty")
    hub.repos["ann/gated"] = Repo(gated=True)
    with pytest.raises(OSError, match="gated"):
        load_pretrained("ann/gated")


def test_a_damaged_download_is_refused(hub: Hub, model: MTRL) -> None:
    model.push_to_hub("ann/reid", token=TOKEN)
    repo = hub.repos["ann/reid"]
    files = repo.commits[repo.branches["main"]]
    weights = bytearray(files["model.safetensors"])
    weights[-5] ^= 1
    files["model.safetensors"] = bytes(weights)
    with pytest.raises(ValueError, match="checksum"):
        load_pretrained("ann/reid")


def test_the_cache_serves_when_the_hub_is_gone(
    hub: Hub, model: MTRL, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    model.push_to_hub("ann/reid", token=TOKEN)
    load_pretrained("ann/reid")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.requests)
    assert same(load_pretrained("ann/reid"), model)
    with pytest.raises(FileNotFoundError, match="not in the Hub's cache"):
        load_pretrained("ann/other")
    assert len(hub.requests) == asked


def test_only_safetensors_and_json_are_asked_for(hub: Hub, model: MTRL) -> None:
    model.push_to_hub("ann/reid", token=TOKEN)
    hub.requests.clear()
    load_pretrained("ann/reid")
    assert {line.rsplit("/", 1)[1] for line in hub.requests} == {"config.json", "model.safetensors"}


def test_a_refused_upload_says_what_to_do_and_keeps_the_token(hub: Hub, model: MTRL) -> None:
    with pytest.raises(OSError, match="log in") as caught:
        model.push_to_hub("ann/reid", token="hf_wrong_token")
    assert "hf_wrong_token" not in str(caught.value)
    with pytest.raises(ValueError, match="user/repo"):
        model.push_to_hub("reid", token=TOKEN)
    assert not hub.repos


def test_a_folder_uploads_its_checkpoint_and_nothing_else(hub: Hub, model: MTRL, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "run", dtype="float16", card="# A card\n")
    (tmp_path / "run" / "settings.yaml").write_text("secret: 1\n")
    (tmp_path / "run" / "last").mkdir()
    (tmp_path / "run" / "last" / "config.json").write_text("{}")
    upload_folder(tmp_path / "run", "ann/reid", token=TOKEN)
    repo = hub.repos["ann/reid"]
    assert set(repo.commits[repo.branches["main"]]) == {"config.json", "model.safetensors", "README.md"}
    assert same(load_pretrained("ann/reid"), read_checkpoint(tmp_path / "run"))
