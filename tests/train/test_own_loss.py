"""Losses of one's own: what they are given, trained parameters, bit-exact resuming, and clear errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mtrl import load_pretrained
from mtrl.console import cli
from mtrl.data.imageset import ReIDData
from mtrl.losses import TriLayout, own_loss
from mtrl.models.reid import Features
from tests.helpers.runs import ONE_STEP, same, settings
from train.__main__ import main
from train.preflight import check_runs
from train.run.distributed import DistributedContext
from train.settings import own_weight, parse
from train.trainer import Trainer

TEXT = """
import torch
from torch import nn

def spread(visible, infrared, identities):
    assert len(identities) == len(visible)
    return (visible.mean(0) - infrared.mean(0)).square().sum()

class Proxies(nn.Module):
    def __init__(self, dim, num_identities):
        super().__init__()
        self.proxies = nn.Parameter(0.1 * torch.randn(num_identities, dim))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, features, layout, margin=0.5):
        self.calls += self.training
        return (features.embedding - self.proxies[layout.identities]).square().mean() + margin

ready = nn.Linear(3, 3)
number = 3
def wrong(visible, colours): return visible.sum()
def rows(visible): return visible
def fails(visible): return visible @ visible.new_zeros(1, 1)
def hops(visible, transition): return (visible - transition).square().mean()
class Raises(nn.Module):
    def __init__(self, dim):
        raise KeyError("a table of mine")
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_losses_here.py").write_text(TEXT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_losses_here", raising=False)


def name(part: str) -> str:
    return f"own_losses_here:{part}"


def test_a_loss_gets_what_it_names() -> None:
    layout = TriLayout(3, 3, 2, torch.tensor([0, 0, 1, 0, 0, 1, 1, 0]))
    rows = torch.randn(8, 4)
    seen = {}

    def loss(infrared_identities, transition, layout, visible, features, other=3):  # type: ignore[no-untyped-def]
        seen.update(
            t=transition, v=visible, y=infrared_identities, layout=layout, features=features, other=other
        )
        return visible.sum()

    features = Features(rows, rows, None)
    assert own_loss(loss, "x", 1.0, 4, 2)(features, layout, 2 * rows) == 2 * rows[:3].sum()
    assert torch.equal(seen["t"], 2 * rows[3:6]) and seen["y"].tolist() == [1, 0] and seen["other"] == 3
    assert seen["layout"] is layout and seen["features"] is features
    module = torch.nn.Identity()
    module.forward = lambda visible: visible.sum()  # type: ignore[method-assign]
    assert own_loss(module, "x", 1.0, 4, 2).module is not module, "copied"


def test_it_is_weighted_recorded_and_in_the_terms(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [*ONE_STEP, "--log-every", "1"]
    words += ["--warmup-epochs", "0", "--ramp-epochs", "0", "--method", "baseline", "--output", str(run)]
    assert main([*words, "--loss", name("spread") + "=0.25", "--loss", name("Proxies")]) == 0
    record = next(
        r for r in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if r["kind"] == "train"
    )
    parts = (
        record["loss_identity"]
        + record["loss_triplet"]
        + 0.25 * record["loss_spread"]
        + record["loss_Proxies"]
    )
    assert record["loss_total"] == pytest.approx(parts, rel=1e-5) and record["loss_Proxies"] > 0.5
    terms = json.loads((run / "environment.json").read_text())["trained"]["terms"]
    assert terms[name("spread")] == 0.25 and terms[name("Proxies")] == 1
    load_pretrained(run)  # the loss is no part of the model


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_parameters_are_trained_and_resumed_bit_for_bit(
    tmp_path: Path, data: ReIDData, optimizer: str
) -> None:
    changes = {
        "loss": (name("Proxies"),),
        "optimizer": optimizer,
        "clip": 1.0,
        "hold_out": 0,
        "schedule": "step",
    }
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    first = Trainer(settings(whole, **changes), data)
    (before,) = [value.clone() for value in first.losses[0].module.parameters()]  # type: ignore[union-attr]
    first.run()
    (after,) = first.losses[0].module.parameters()  # type: ignore[union-attr]
    assert not torch.equal(before, after)
    state = load_file(whole / "last" / "state.safetensors")
    assert (
        torch.equal(state["model.losses.Proxies.proxies"], after) and state["model.losses.Proxies.calls"] == 8
    )
    Trainer(settings(cut, **changes, epochs=1), data).run()
    Trainer(settings(cut, **changes, resume=True), data).run()
    assert same(whole, cut)


def test_without_parameters_the_state_is_as_before(tmp_path: Path, data: ReIDData) -> None:
    Trainer(settings(tmp_path / "run", loss=(name("spread"),), hold_out=0, epochs=1), data).run()
    assert not any("losses" in key for key in load_file(tmp_path / "run" / "last" / "state.safetensors"))


@pytest.mark.parametrize(
    ("part", "match"),
    [
        ("missing", "defines no missing"),
        ("number", "is a int, which cannot be called"),
        ("wrong", "asks for colours; it is given visible, transition"),
        ("rows", r"must give a scalar tensor, not torch.float32 \[4"),
        ("fails", "the loss fails ends with RuntimeError"),
        ("hops", "wants transition images, and there are none"),
        ("Raises", "the loss Raises cannot be built: it ends with KeyError: 'a table of mine'"),
    ],
)
def test_what_cannot_be_a_loss_is_refused_before_the_run(tmp_path: Path, part: str, match: str) -> None:
    run = settings(tmp_path / "run", loss=(name(part),), transition=False, mtc=0.0, center=0.0, mqr=0.0)
    with pytest.raises(ValueError, match=match):
        check_runs([run])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ("no_such_module_here:x", "there is no module no_such_module_here"),
        ("broken_here:x", "importing broken_here ends with ZeroDivisionError"),
        ("spread", "is written module:callable"),
        ("C:\\losses", "is written module:callable"),
        ("own_losses_here:spread=-1", "must be a positive number"),
        ("own_losses_here:spread=x", "must be a positive number"),
        *(
            (f"own_losses_here:{name}", f"the name {name} is taken")
            for name in ("mtc", "identity", "triplet", "total", "gradient", "forward", "items")
        ),
    ],
)
def test_the_command_line_says_what_is_wrong(
    tmp_path: Path, entry: str, match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken_here.py").write_text("1 / 0")
    with pytest.raises(SystemExit) as ended:
        cli.run(lambda: main(["--size", "tiny", "--loss", entry, "--output", str(tmp_path / "run")]))
    message = capsys.readouterr().err
    assert ended.value.code == 2 and match in message and "Traceback" not in message


def test_a_name_that_would_hide_a_term_is_refused_in_code_too() -> None:
    for name in ("triplet", "total", "forward"):
        with pytest.raises(ValueError, match=f"the name {name} is taken"):
            own_loss(lambda visible: visible.sum(), name, 1.0, 4, 2)


def test_weights_and_repetition(tmp_path: Path) -> None:
    assert own_weight("a.b:c") == ("a.b:c", 1.0) and own_weight("a:c=2.5") == ("a:c", 2.5)
    (tmp_path / "x.yaml").write_text("loss: [a:b, c:d=2]\n")
    assert parse(["--config", str(tmp_path / "x.yaml")]).loss == ("a:b", "c:d=2")
    assert parse(["--loss", "a:b", "--loss", "c:d", "e:f"]).loss == ("a:b", "c:d", "e:f")


def test_the_gradients_of_its_parameters_are_shared_in_each_step(
    tmp_path: Path, data: ReIDData, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared: list[list[tuple[int, ...]]] = []

    def share(self: DistributedContext, parameters: Iterable[nn.Parameter]) -> None:
        given = list(parameters)
        assert all(parameter.grad is not None for parameter in given)  # after the backward pass
        shared.append([tuple(parameter.shape) for parameter in given])

    monkeypatch.setattr(DistributedContext, "share_gradients", share)
    run = settings(tmp_path / "run", loss=("own_losses_here:Proxies", "own_losses_here:spread"), epochs=1)
    trainer = Trainer(run, data)
    trainer.run()
    assert shared == [[(len(trainer.sampler.classes), trainer.model.dim)]] * 4
