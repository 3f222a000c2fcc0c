"""What a training will take, said beforehand: counted again on real tensors and by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mtrl import MTRL
from mtrl.data.synthetic import load
from mtrl.models.config import Modality
from mtrl.models.load import load_pretrained
from train.__main__ import main
from train.bench.predict import Prediction, predict
from train.build import freeze_blocks
from train.settings import parse

TINY = ["--size", "tiny", "--no-pretrained", "--identities", "3", "--instances", "2"]
TINY += ["--hold-out", "4", "--epochs", "5", "--pad", "2"]


@pytest.mark.parametrize(
    "words",
    [
        "--backbone resnet10t --image-size 64 32",
        "--backbone test_vit --backbone-args {} --image-size 48 32 --patch-stride 12",
        "--backbone resnet10t --image-size 64 32 --precision fp32",
    ],
)
def test_operations_and_memory_are_those_of_real_tensors(words: str) -> None:
    settings = parse([*TINY, *words.split(), "--method", "mtrl"])
    found = predict(settings)
    model = MTRL(settings.model_config(20)).train()  # 24 identities, 4 of them held out
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(value: torch.Tensor) -> torch.Tensor:
        if (place := value.untyped_storage().data_ptr()) not in weights:
            kept[place] = value.untyped_storage().nbytes()
        return value

    images = torch.rand(3 * 3 * 2, 3, *settings.image_size)
    with FlopCounterMode(display=False) as counter:
        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value)
        with hooks, torch.autocast("cpu", torch.bfloat16, enabled=settings.precision != "fp32"):
            features = model(images, Modality.INFRARED)
        (features.logits.sum() + features.embedding.sum()).backward()
    # torch's counter takes attention on a CPU for free: two products forward, five backward, of tokens x tokens
    tokens, body = 2 * 3 + 1, model.backbone.body  # 48 x 32 pixels, 16 every 12 of them, and the class token
    depth, width = (len(body.blocks), body.embed_dim) if settings.backbone == "test_vit" else (0, 0)
    attention = depth * len(images) * (2 + 5) * 2 * tokens * tokens * width
    assert found.operations_per_step == counter.get_total_flops() + attention > 10**6
    assert found.kept == pytest.approx(sum(kept.values()), rel=0.01)
    # float32 weights; gradients and AdamW's two moments of those that are trained (the neck's bias is not)
    values = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    assert found.weights == sum(4 * n * (4 if trained else 1) for n, trained in values)
    assert found.images_per_step == len(images)


def test_steps_and_images_follow_from_the_labels() -> None:
    found = predict(parse([*TINY, "--method", "baseline", "--optimizer", "sgd", "--ema", "0.9"]))
    assert found.images_per_step == 2 * 3 * 2
    images = load("tiny", parts=("train",), labels_only=True).train
    rows, _ = images.split_identities(4, seed=0)
    assert found.training_images == len(rows) * 3 * 64 * (32 + 2 * 2)  # padded by 2 on both sides
    adam = predict(parse([*TINY, "--method", "baseline"]))
    assert found.weights == pytest.approx(
        adam.weights, rel=0.001
    )  # one moment and the average, or two moments
    assert predict(parse([*TINY, "--method", "baseline", "--batches", "1"])).steps == 5
    assert adam.steps > 5 and adam.operations_per_step < predict(parse(TINY)).operations_per_step


def test_time_is_operations_over_rate() -> None:
    found = Prediction(
        steps=1000,
        images_per_step=96,
        operations_per_step=6 * 10**12,
        weights=2**30,
        kept=2**31,
        training_images=2**29,
    )
    assert found.seconds(2e12) == 3000 and found.memory == 3.5 * 2**30


def test_the_command_reads_a_recipe_and_says_what_it_takes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("size: tiny\nbackbone: resnet10t\nimage_size: [64, 32]\nidentities: 4\nepochs: 2\n")
    assert main(["predict", "--config", str(recipe), "--no-pretrained", "--rate", "0.001"]) == 0
    said = capsys.readouterr().out
    assert "steps of 24 images" in said and "memory:" in said and "at 0.001 TFLOP/s" in said
    assert main(["predict", "--config", str(recipe), "--no-pretrained"]) == 0
    assert "TFLOP/s" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="rate must be finite and not negative"):
        main(["predict", "--config", str(recipe), "--rate", "-1"])
    recipe.write_text(recipe.read_text() + "rate: 0.002\n")
    assert main(["predict", "--config", str(recipe), "--no-pretrained"]) == 0
    assert "at 0.002 TFLOP/s" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [recipe]


def test_options_that_save_memory_are_counted() -> None:
    flags = [*TINY, "--backbone", "test_vit", "--backbone-args", "{}", "--image-size", "48", "32"]
    plain, again = predict(parse(flags)), predict(parse([*flags, "--grad-checkpointing"]))
    assert again.kept < 0.7 * plain.kept and again.operations_per_step > plain.operations_per_step
    settings = parse([*flags, "--freeze-blocks", "2"])
    frozen, model = predict(settings), MTRL(settings.model_config(20))
    freeze_blocks(model, 2)
    values = [(p.numel(), p.requires_grad) for p in model.parameters()]
    assert frozen.weights == sum(4 * n * (4 if trained else 1) for n, trained in values) < plain.weights
    assert frozen.kept < plain.kept and frozen.operations_per_step < plain.operations_per_step
    assert predict(parse([*flags, "--precision", "fp32"])).kept > 1.2 * plain.kept
    for stem in ("dual", "embedding"):
        assert predict(parse([*flags, "--stem", stem])).weights > plain.weights


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match="teacher"):
        predict(parse([*TINY, "--distil", "runs/teacher"]))
    with pytest.raises(ValueError, match=r"cannot be followed|cannot work on images"):
        predict(parse([*TINY, "--backbone", "inception_v3", "--backbone-args", "{}", "--pooling", "gem"]))


def test_a_teacher_adds_its_weights_and_its_forward_pass() -> None:
    teacher = load_pretrained("fast")
    images = torch.zeros(3, 3, *teacher.config.image_size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        teacher(images, Modality.INFRARED)
    alone, taught = predict(parse(TINY)), predict(parse([*TINY, "--distil", "fast"]))
    more = taught.operations_per_step - alone.operations_per_step
    assert more == counter.get_total_flops() // 3 * alone.images_per_step > 0
    assert taught.weights - alone.weights == 4 * sum(p.numel() for p in teacher.parameters())
    assert (taught.kept, taught.steps) == (alone.kept, alone.steps)
