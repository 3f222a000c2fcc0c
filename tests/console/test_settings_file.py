"""A YAML file and a command line say the same: every value that a flag takes, or the same refusal."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from eval.__main__ import EvalSettings
from mtrl.commands import index, push, search, synth, translate, verify
from mtrl.console import cli
from train.settings import TrainSettings
from train.translator.settings import TranslatorSettings


def hand_made(command: Any, positionals: list[str], argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return cli.arguments(parser, [*positionals, *argv])


def file(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return ["--config", str(path)]


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("delete_identity: bob", ["--delete-identity", "bob"]),
        ("delete_identity: [bob, 7]", ["--delete-identity", "bob", "7"]),
        ("delete-identity: 0117", ["--delete-identity", "0117"]),
        ("delete_name: 2026-11-28", ["--delete-name", "2026-11-28"]),
        ("delete_name: [off, 12:30, 1e-3]", ["--delete-name", "off", "12:30", "1e-3"]),
        ("delete_name: -x.jpg", ["--delete-name=-x.jpg"]),
        ("delete_name: []", []),
        ("half: no", []),
        ('half: "no"', []),
        ("half: On\nadd: 'yes'", ["--half", "--add"]),
        ("add: false\nskip_unreadable: true", ["--skip-unreadable"]),
        ("output: 2026", ["--output", "2026"]),
        ("output: null\nrevision: ~\ncheckpoint:", []),
        ("batch_size: 010", ["--batch-size", "010"]),
    ],
)
def test_an_entry_of_index_is_its_flag(tmp_path: Path, text: str, flags: list[str]) -> None:
    own = ["--output", "x"] if "output: 2026" not in text else []
    found = vars(hand_made(index, ["photos"], [*file(tmp_path, text), *own]))
    assert found == vars(hand_made(index, ["photos"], [*own, *flags]))


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("camera: 6", ["--camera", "6"]),
        ("camera: [3, 6]", ["--camera", "3", "6"]),
        ("identity: 7", ["--identity", "7"]),
        ("identity: [yes, 7]", ["--identity", "yes", "7"]),
        ("after: 2026-11-20T18:30\nk: 3", ["--after", "2026-11-20T18:30", "--k", "3"]),
    ],
)
def test_an_entry_of_search_is_its_flag(tmp_path: Path, text: str, flags: list[str]) -> None:
    found = hand_made(search, ["idx", "a.jpg", "b.jpg"], file(tmp_path, text))
    assert vars(found) == vars(hand_made(search, ["idx", "a.jpg", "b.jpg"], flags))


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("compile: off", ["--compile", "off"]),
        ("compile: on\nprecision: fp32", ["--compile", "on", "--precision", "fp32"]),
        ("train_ids: 296\ndataset: sysu", ["--train-ids", "296", "--dataset", "sysu"]),
        ("trial: 3\ndataset: regdb", ["--trial", "3", "--dataset", "regdb"]),
        ("output: 2026\nlr: 1e-3\nepochs: 1_0", ["--output", "2026", "--lr", "1e-3", "--epochs", "1_0"]),
        ("image-size: [64, 32]\nlr_steps: 5", ["--image-size", "64", "32", "--lr-steps", "5"]),
        ("pretrained: off\nsync_bn: yes", ["--no-pretrained", "--sync-bn"]),
        ("cache_dir: off\ndata_root: ''", ["--cache-dir", "off", "--data-root", ""]),
        ("backbone_args: {channels: [16, 32], act: off, rate: .1, x: '1'}",
         ["--backbone-args", '{"channels": [16, 32], "act": "off", "rate": 0.1, "x": "1"}']),
        ("backbone_args: '{\"a\": true}'", ["--backbone-args", '{"a":true}']),
        ("backbone_args: {a: True, b: null, c: 1e-3, d: -2}",
         ["--backbone-args", '{"a": true, "b": null, "c": 0.001, "d": -2}']),
    ],
)  # fmt: skip
def test_an_entry_of_a_training_is_its_flag(tmp_path: Path, text: str, flags: list[str]) -> None:
    def parse(*argv: str) -> TrainSettings:
        return cli.parse(TrainSettings, argparse.ArgumentParser(), argv)

    assert parse(*file(tmp_path, text)) == parse(*flags)


@pytest.mark.parametrize(
    ("command", "positionals", "text", "words"),
    [
        (index, ["p"], "half: 1\noutput: x", "argument --half: must be true or false, not '1'"),
        (index, ["p"], "add: maybe\noutput: x", "argument --add: must be true or false"),
        (index, ["p"], "output: [a, b]", "argument --output: takes one value, not a list"),
        (index, ["p"], "output: {a: b}", "argument --output: takes a value, not a mapping"),
        (index, ["p"], "output: x\noutput: y", "output stands there twice"),
        (index, ["p"], "delete-name: a\ndelete_name: b\noutput: x", "delete_name stands there twice"),
        (index, ["p"], "photos: here\noutput: x", "unknown option 'photos'"),
        (search, ["i", "q"], "camera: six", "argument --camera: invalid int value: 'six'"),
        (search, ["i", "q"], "camera: [3, [6]]", "argument --camera: each value of a list"),
        (search, ["i", "q"], "modality: 3", "argument --modality: invalid choice: '3'"),
        (synth, [], "seed: 1.0", "argument --seed: invalid int value: '1.0'"),
        (verify, [], "dataset: imagenet\ndata_root: x", "argument --dataset: invalid choice"),
        (translate, ["a", "b"], "overwrite: [true]", "argument --overwrite: must be true or false"),
    ],
)
def test_what_no_flag_takes_is_refused_with_the_file_and_the_option(
    tmp_path: Path, command: Any, positionals: list[str], text: str, words: str
) -> None:
    with pytest.raises(ValueError) as caught:
        hand_made(command, positionals, file(tmp_path, text))
    assert words in str(caught.value) and str(tmp_path / "c.yaml") in str(caught.value)


def test_a_required_option_stands_in_the_file_or_is_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = hand_made(verify, [], file(tmp_path, "dataset: sysu\ndata_root: 2026\ncounts: no"))
    assert (found.dataset, found.data_root, found.counts) == ("sysu", Path("2026"), False)
    with pytest.raises(SystemExit):
        hand_made(verify, [], file(tmp_path, "dataset: sysu\ndata_root: null"))
    assert "required: --data-root" in capsys.readouterr().err


def test_flags_replace_what_the_file_says(tmp_path: Path) -> None:
    words = file(tmp_path, "delete_name: [a, b]\nhalf: true\ndevice: cuda")
    found = hand_made(index, ["p"], [*words, "--output", "x", "--delete-name", "c", "--device", "cpu"])
    assert (found.delete_name, found.half, found.device) == (["c"], True, "cpu")
    parser = argparse.ArgumentParser()
    parser.add_argument("--gallery", action="append", default=[])
    entries = file(tmp_path, "gallery: [a, b]")
    assert cli.arguments(parser, entries).gallery == ["a", "b"]
    parser = argparse.ArgumentParser()
    parser.add_argument("--gallery", action="append", default=[])
    assert cli.arguments(parser, [*entries, "--gallery", "c"]).gallery == ["c"]


@pytest.mark.parametrize("kind", [TrainSettings, TranslatorSettings, EvalSettings])
def test_settings_of_every_kind_are_read_back(tmp_path: Path, kind: Any) -> None:
    settings = kind(
        **({"output": "2026", "cache_dir": "off"} if kind is not EvalSettings else {"json": "1e3"})
    )
    path = tmp_path / "settings.yaml"
    values = json.loads(json.dumps(dataclasses.asdict(settings)))
    path.write_text(yaml.safe_dump(values))
    assert cli.read_settings(kind, path) == settings
    if kind is not EvalSettings:
        path.write_text(settings.yaml())
        assert cli.read_settings(kind, path) == settings


def test_push_takes_a_file(tmp_path: Path) -> None:
    assert hand_made(push, ["run", "me/x"], file(tmp_path, "private: yes\ntag: 1.0")).tag == "1.0"
