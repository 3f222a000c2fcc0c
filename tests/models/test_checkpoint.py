"""Checkpoints come back bit by bit, and anything else than a whole checkpoint is refused with advice."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from mtrl import MTRL, load_pretrained
from mtrl.files.tensor_file import tensor_digest
from mtrl.models import load
from mtrl.models.card import CardFacts, Result, model_card
from mtrl.models.checkpoint.checks import expected_tensors, parse_settings
from mtrl.models.config import ModelConfig

CONFIG = ModelConfig(
    "test_resnet",
    (64, 32),
    mean=(0.4, 0.5, 0.6),
    std=(0.2, 0.3, 0.1),
    stem="dual",
    pooling="avg",
    num_identities=7,
)


def build(seed: int = 0, config: ModelConfig = CONFIG) -> MTRL:
    torch.manual_seed(seed)
    model = MTRL(config)
    model.train()
    with torch.no_grad():
        model(torch.randn(6, 3, 64, 32), torch.arange(6) % 2)
    return model.eval()


MODEL = build()
IMAGES = torch.randint(0, 256, (3, 3, 50, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    MODEL.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_round_trip(tmp_path: Path) -> None:
    MODEL.save_pretrained(tmp_path / "a" / "b", include_classifier=True, card="# Card\n")
    assert (names(tmp_path / "a" / "b")) == ["README.md", "config.json", "model.safetensors"]
    loaded = load_pretrained(tmp_path / "a" / "b")
    assert loaded.config == CONFIG
    assert not any(module.training for module in loaded.modules())
    assert loaded.state_dict().keys() == MODEL.state_dict().keys()
    assert all(torch.equal(value, MODEL.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert torch.equal(loaded.encode(IMAGES, "infrared"), MODEL.encode(IMAGES, "infrared"))
    assert loaded.fingerprint() == MODEL.fingerprint()
    shown = json.loads((tmp_path / "a" / "b" / "config.json").read_text())
    assert shown["format"] == "mtrl-1" and shown["image_size"] == [64, 32] and len(shown["sha256"]) == 64


def test_the_classifier_is_dropped_unless_asked_for(folder: Path) -> None:
    assert "neck.classifier.weight" not in load_file(folder / "model.safetensors")
    loaded = load_pretrained(str(folder))
    assert loaded.config.num_identities == 0 and loaded(torch.zeros(1, 3, 64, 32), 0).logits is None
    assert loaded.fingerprint() == MODEL.fingerprint()
    assert torch.equal(loaded.encode(IMAGES), MODEL.encode(IMAGES))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", torch.float16])
def test_half_precision_halves_the_file_and_comes_back_as_float32(
    folder: Path, dtype: str | torch.dtype
) -> None:
    full = (folder / "model.safetensors").stat().st_size
    MODEL.save_pretrained(folder, dtype=dtype)
    assert (folder / "model.safetensors").stat().st_size < 0.6 * full
    loaded = load_pretrained(folder)
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    assert ((loaded.encode(IMAGES) * MODEL.encode(IMAGES)).sum(1) > 0.999).all()
    assert loaded.fingerprint() != MODEL.fingerprint()
    assert loaded.fingerprint() == load_pretrained(folder).fingerprint()


def test_what_cannot_be_stored_is_not_written(tmp_path: Path) -> None:
    model = build()
    with torch.no_grad():
        model.backbone.body.layer1[0].conv1.weight[0, 0, 0, 0] = 1e6
    with pytest.raises(ValueError, match="too large"):
        model.save_pretrained(tmp_path / "x", dtype="float16")
    with torch.no_grad():
        model.backbone.body.layer1[0].conv1.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        model.save_pretrained(tmp_path / "x")
    with pytest.raises(ValueError, match="dtype must be one of"):
        model.save_pretrained(tmp_path / "x", dtype="int8")
    assert not (tmp_path / "x").exists()


def test_loading_leaves_the_random_state(folder: Path) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    load_pretrained(folder)
    assert torch.equal(torch.rand(3), wanted)


def test_an_interrupted_save_leaves_a_checkpoint_that_loads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = build(seed=1)
    real = Path.replace
    for allowed in (0, 1):
        left = [allowed]

        def replace(self: Path, target: Path, left: list[int] = left) -> Path:
            if left[0] == 0:
                raise OSError("no space left on device")
            left[0] -= 1
            return real(self, target)

        monkeypatch.setattr(Path, "replace", replace)
        with pytest.raises(OSError, match="no space"):
            new.save_pretrained(folder)
        monkeypatch.setattr(Path, "replace", real)
        wanted = new if allowed else MODEL
        assert torch.equal(load_pretrained(folder).encode(IMAGES), wanted.encode(IMAGES))
        assert (names(folder)) == ["config.json", "model.safetensors"]


def test_what_is_missing_is_listed(folder: Path, tmp_path: Path) -> None:
    for source in (tmp_path / "none", str(tmp_path / "none"), "none", "./runs/x", "a/b/c", "~/none-such"):
        with pytest.raises(FileNotFoundError, match="there is no such folder"):
            load_pretrained(source)
    with pytest.raises(FileNotFoundError, match="the folder that holds it"):
        load_pretrained(folder / "model.safetensors")
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks config\.json"):
        load_pretrained(folder)
    with pytest.raises(FileNotFoundError, match=r"lacks config\.json and model\.safetensors"):
        load_pretrained(tmp_path)
    with pytest.raises(ValueError, match="a revision belongs to a Hub id"):
        load_pretrained(folder, revision="v1")


def test_without_a_shipped_checkpoint_training_is_advised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(load.SHIPPED, load.DEFAULT, tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="python -m train"):
        load_pretrained()
    MODEL.save_pretrained(tmp_path / "none")
    assert torch.equal(load_pretrained().encode(IMAGES), MODEL.encode(IMAGES))


@pytest.mark.parametrize("name", ["accurate", "fast"])
def test_shipped_checkpoints_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(load.SHIPPED, name, tmp_path / "inside")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no checkpoint is shipped"):
        load_pretrained(name)
    MODEL.save_pretrained(tmp_path / "inside")
    assert torch.equal(load_pretrained(name).encode(IMAGES), MODEL.encode(IMAGES))
    assert load.shipped_folder(name) == tmp_path / "inside"
    assert (
        load.shipped_folder(None) == load.SHIPPED[load.DEFAULT] and load.shipped_folder("user/repo") is None
    )
    for source in (None, name):
        with pytest.raises(ValueError, match="no revisions"):
            load_pretrained(source, revision="v1")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_pretrained(Path(name))
    (tmp_path / name).mkdir()  # a folder of that name wins, as with the names of the Hub
    assert load.shipped_folder(name) is None
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_pretrained(name)


def test_an_unusable_device_is_named(folder: Path) -> None:
    for device in ("nonsense", "cuda:77"):
        with pytest.raises(ValueError, match=f"device '{device}'"):
            load_pretrained(folder, device=device)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!doctype html><html>", "web page"),
        (b"\xff" * 200, "damaged"),
        ((2**62).to_bytes(8, "little") + b"{}", "damaged"),
        ((8).to_bytes(8, "little") + b"{}      ", "not written by this library"),
    ],
)
def test_foreign_weights(folder: Path, content: bytes, message: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_pretrained(folder)


def test_truncated_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    for size in (4, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match="damaged"):
            load_pretrained(folder)
    path.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match="damaged"):
        load_pretrained(folder)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 0.999999), change=st.integers(1, 255))
def test_a_flipped_byte_anywhere_is_refused(tmp_path: Path, place: float, change: int) -> None:
    if not (tmp_path / "config.json").exists():
        MODEL.save_pretrained(tmp_path)
        (tmp_path / "good").write_bytes((tmp_path / "model.safetensors").read_bytes())
    content = bytearray((tmp_path / "good").read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    start = 0 if place < 0.2 else header  # often in the header, though it is small
    position = start + int(place * (header if place < 0.2 else len(content) - header))
    content[position] ^= change
    (tmp_path / "model.safetensors").write_bytes(content)
    try:
        model = load_pretrained(tmp_path)
    except ValueError:
        return
    # White space and the like carry nothing: then the model must be exactly the one that was saved.
    assert position < header
    assert model.fingerprint() == MODEL.fingerprint() and model.config.image_size == (64, 32)


def rewrite(folder: Path, **changes: torch.Tensor | None) -> None:
    """Changes tensors of a checkpoint and keeps its record, as somebody editing weights would."""
    from safetensors import safe_open

    path = folder / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = {**load_file(path), **changes}
    save_file({n: v for n, v in tensors.items() if v is not None}, path, metadata=metadata)


def test_tensors_that_do_not_fit_are_named(folder: Path) -> None:
    name = "neck.norm.weight"
    good = (folder / "model.safetensors").read_bytes()
    rewrite(folder, **{name: None})
    with pytest.raises(ValueError, match=rf"lacks 1 tensors, first {name}"):
        load_pretrained(folder)
    (folder / "model.safetensors").write_bytes(good)
    rewrite(folder, extra=torch.zeros(3))
    with pytest.raises(ValueError, match="unknown 1 tensors, first extra"):
        load_pretrained(folder)
    (folder / "model.safetensors").write_bytes(good)
    rewrite(folder, **{name: torch.ones(5)})
    with pytest.raises(ValueError, match=rf"{name} is \[5\], but config.json describes \[96\]"):
        load_pretrained(folder)
    (folder / "model.safetensors").write_bytes(good)
    rewrite(folder, **{name: torch.full((96,), 2.0)})
    with pytest.raises(ValueError, match="checksum"):
        load_pretrained(folder)


def test_files_of_two_checkpoints_do_not_mix(folder: Path, tmp_path: Path) -> None:
    build(config=ModelConfig("test_resnet", (64, 32), stem="dual", pooling="avg")).save_pretrained(
        tmp_path / "b"
    )
    (folder / "config.json").write_bytes((tmp_path / "b" / "config.json").read_bytes())
    with pytest.raises(ValueError, match="belongs to another config"):
        load_pretrained(folder)


def hostile(**changes: object) -> str:
    return json.dumps(
        {**json.loads(json.dumps(CONFIG.to_dict())), "format": "mtrl-1", "sha256": "0", **changes}
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "not json",
        "{}",
        '{"format": "mtrl-9"}',
        "[" * 100_000,
        '{"format": "mtrl-1", "x": ' * 50_000,
        " " * 2_000_000,
        hostile(sha256=None),
        hostile(unknown=1),
        hostile(backbone="../../etc/passwd"),
        hostile(backbone="hf-hub:user/repo"),
        hostile(backbone=["resnet18"]),
        hostile(image_size=[64]),
        hostile(image_size=[10**9, 10**9]),
        hostile(image_size="64"),
        hostile(image_size=[64, 32.5]),
        hostile(mean=[1, 2]),
        hostile(mean="abc"),
        hostile(std=[0, 1, 1]),
        hostile(std=[True, True, {}]),
        hostile(mean=[1e300, 0, 0]),
        hostile(num_identities=10**12),
        hostile(num_identities="many"),
        hostile(backbone_args=[]),
        hostile(backbone_args={"channels": [10**9] * 4}),
        hostile(backbone_args={"layers": [8000] * 4}),
        hostile(backbone_args={"a": {"b": {"c": {"d": {"e": 1}}}}}),
        hostile(backbone_args={"checkpoint_path": "/etc/passwd"}),
        hostile(backbone_args={"pretrained_cfg_overlay": {"file": "/etc/passwd"}}),
        hostile(backbone_args={"channels": [8000] * 4}),
        hostile(stem=7),
        hostile(mean=[float("nan"), 0, 0]),
        '{"format": "mtrl-1", "sha256": "0", "num_identities": ' + "9" * 10_000 + "}",
    ],
    ids=lambda text: f"{text[:12]!r}..{len(text)}",
)
def test_hostile_configurations_are_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json"):
        load_pretrained(folder)
    # The same text inside the weights file, where a stranger can put it too.
    if len(text) < 100_000:
        tensors = load_file(folder / "model.safetensors")
        save_file(tensors, folder / "model.safetensors", metadata={"mtrl": text})
        with pytest.raises(ValueError, match=r"model\.safetensors|config\.json"):
            load_pretrained(folder)


def test_a_saved_model_names_its_pooling(folder: Path) -> None:
    """Files without the entry are GeM's, which every model had when the entry was made."""
    values = json.loads((folder / "config.json").read_text())
    assert parse_settings(json.dumps(values), "x")[0].pooling == values.pop("pooling") == "avg"
    assert parse_settings(json.dumps(values), "x")[0].pooling == "gem"
    with pytest.raises(ValueError, match=r"names its pooling: one of .*'gem'"):
        parse_settings(json.dumps({**values, "pooling": "auto"}), "x")


def test_arguments_that_timm_stumbles_over_are_refused() -> None:
    config = dataclasses.replace(CONFIG, backbone="resnet18", backbone_args={"layers": []}, stem="shared")
    with pytest.raises(ValueError, match="no model that can be built"):
        expected_tensors(config, {}, MTRL)


def test_the_header_is_compared_before_memory_is_taken(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["backbone_args"] = {"channels": [8192] * 4, "layers": [16] * 4}  # tens of GB, if it were built
    text = json.dumps(config)
    (folder / "config.json").write_text(text)
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors, folder / "model.safetensors", metadata={"mtrl": text})
    with pytest.raises(ValueError, match="larger than the tensors beside it"):
        load_pretrained(folder)


def test_unreadable_folders_raise_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError):
        MODEL.save_pretrained(tmp_path / "file" / "model")


def test_card_front_matter_is_yaml_with_the_figures() -> None:
    yaml = pytest.importorskip("yaml")
    result = Result("synthetic", "ir2vis | single-shot", 0.4312, 0.3351, 0.21, 0.012, 10)
    facts = CardFacts(
        name='MTRL "small": a try',
        dataset="synthetic small",
        command="python -m train --dataset synthetic",
        seed=0,
        training={"time": "40 minutes"},
        results=[result, dataclasses.replace(result, setting="vis2ir: all", mean_inp=None)],
        limits=["Drawn people only."],
    )
    card = model_card(CONFIG, facts)
    _, front, body = card.split("---\n", 2)
    values = yaml.safe_load(front)
    assert values["library_name"] == "mtrl" and values["license"] == "mit"
    entry = values["model-index"][0]
    assert entry["name"] == 'MTRL "small": a try'
    metrics = [[(m["type"], m["value"]) for m in listed["metrics"]] for listed in entry["results"]]
    assert metrics[0] == [("rank-1", 43.12), ("mAP", 33.51), ("mINP", 21)] and metrics[1] == metrics[0][:2]
    names = [listed["dataset"]["name"] for listed in entry["results"]]
    assert names == ["synthetic, ir2vis | single-shot", "synthetic, vis2ir: all"]
    for text in (
        "python -m train --dataset synthetic",
        "Seed: 0",
        "Drawn people only.",
        "33.5 ± 1.2",
        "biometric",
    ):
        assert text in body
    assert "ir2vis \\| single-shot" in body  # a bar in a table cell would end it
    assert "64 x 32" in model_card(CONFIG) and "## Results" not in model_card(CONFIG)


def test_card_is_accepted_by_the_hub_client() -> None:
    from huggingface_hub import ModelCard

    card = ModelCard(model_card(CONFIG, CardFacts(results=[Result("sysu", "all, single-shot", 0.5, 0.4)])))
    assert {r.metric_type: r.metric_value for r in card.data.eval_results} == {"rank-1": 50.0, "mAP": 40.0}


def test_digest_covers_names_types_and_shapes() -> None:
    base = {"a": torch.arange(4, dtype=torch.float32)}
    others = [
        {"b": base["a"]},
        {"a": base["a"].reshape(2, 2)},
        {"a": base["a"].view(torch.int32)},
        {"a": base["a"] + 1},
        {**base, "b": torch.zeros(0)},
    ]
    digests = {tensor_digest(tensors) for tensors in [base, *others]}
    assert len(digests) == 6
    assert tensor_digest({"x": torch.tensor(np.float32(1.0))})  # a scalar


def test_a_misspelt_run_does_not_ask_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> Path:
        raise OSError("the Hub was asked")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mtrl.models.load.download", asked)
    (tmp_path / "ann").mkdir()
    MTRL(ModelConfig("test_resnet", (32, 16))).save_pretrained(tmp_path / "runs" / "x")
    with pytest.raises(FileNotFoundError, match="runs holds checkpoints, and there is no such folder"):
        load_pretrained("runs/typo")
    for source, revision in (("runs/typo", "main"), ("ann/reid", None), ("bob/reid", None)):
        with pytest.raises(OSError, match="the Hub was asked"):
            load_pretrained(source, revision=revision)
