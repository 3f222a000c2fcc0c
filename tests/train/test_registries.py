"""A loss and a translator are each one module and one entry of a table: everything else follows."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import mtrl.losses
import mtrl.translate
from mtrl.losses import TERMS, Term
from mtrl.translate import TRANSLATORS, load_translator

RUN = ["--dataset", "synthetic", "--size", "tiny", "--epochs", "1", "--batches", "1", "--hold-out", "0"]
RUN += ["--backbone", "test_resnet", "--backbone-args", "{}", "--image-size", "32", "16", "--pad", "1"]
RUN += ["--warmup-epochs", "0", "--ramp-epochs", "0", "--log-every", "1", "--device", "cpu"]

LOSS = """
def spread(visible, transition, infrared, identities, infrared_identities, *, margin):
    return margin + (visible - transition).square().mean() + infrared.square().mean()
"""
TRANSLATOR = """
from mtrl.translate import Translator

class Negative(Translator):
    calls = 0

    def forward(self, images):
        Negative.calls += 1
        return 1 - images
"""


def module(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> ModuleType:
    """A module of the user's own."""
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(sys.modules, name, importlib.import_module(name))
    return sys.modules[name]


def fresh(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], int]:
    """`python -m train` as it is after a start of Python, with the tables as they are now."""
    monkeypatch.setattr(mtrl.losses, "total", mtrl.losses.total)
    for name in [
        name for name in sys.modules if name.split(".")[0] == "train" or name == "mtrl.losses.total"
    ]:
        monkeypatch.delitem(sys.modules, name)
    main: Callable[[Sequence[str]], int] = importlib.import_module("train.__main__").main
    for name in [name for name in sys.modules if name.split(".")[0] == "train"]:
        monkeypatch.setitem(sys.modules, name, sys.modules[name])  # goes again with the test
    return main


def test_a_loss_is_a_file_and_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = module(tmp_path, monkeypatch, "own_loss", LOSS)
    options = {"margin": "margin"}
    term = Term(own.spread, 0.0, "weight of the spread", "spread of images", options=options)
    monkeypatch.setitem(TERMS, "spread", term)
    main = fresh(monkeypatch)

    with pytest.raises(SystemExit):
        main(["-h"])
    assert "--spread SPREAD" in (text := capsys.readouterr().out) and "weight of the spread" in text
    for weight, folder in (("0.25", tmp_path / "on"), (None, tmp_path / "off")):
        assert main([*RUN, *(["--spread", weight] if weight else []), "--output", str(folder)]) == 0
        from train.run.log import read_records

        (record,) = [r for r in read_records(folder / "metrics.jsonl") if r["kind"] == "train"]
        assert ("loss_spread" in record) == bool(weight), "off by default"
        names = [name for name in TERMS if f"loss_{name}" in record]
        weights = yaml.safe_load((folder / "settings.yaml").read_text("utf-8"))
        assert names == [name for name in TERMS if weights[name]]
        sums = {name: weights[name] * record[f"loss_{name}"] for name in names}
        expected = record["loss_identity"] + record["loss_triplet"] + sum(sums.values())
        assert record["loss_total"] == pytest.approx(expected)
        assert (folder / "curves.png").is_file()
    from train.presets import METHODS

    assert all(row["spread"] == 0 for row in METHODS.values())
    with pytest.raises(ValueError, match=r"spread 1\.0 compare transition images"):
        main([*RUN, "--method", "baseline", "--spread", "1"])


def test_a_translator_is_a_file_and_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = module(tmp_path, monkeypatch, "own_translator", TRANSLATOR)
    monkeypatch.setitem(TRANSLATORS, "negative", own.Negative)
    assert isinstance(load_translator("negative"), own.Negative)
    with pytest.raises(ValueError, match='"learned-thermal", "negative", a folder'):
        load_translator("nothing")
    main = fresh(monkeypatch)
    with pytest.raises(SystemExit):
        main(["-h"])
    assert '"negative"' in capsys.readouterr().out
    before = own.Negative.calls
    assert main([*RUN, "--translator", "negative", "--output", str(tmp_path / "run")]) == 0
    assert own.Negative.calls > before
