"""Files that evaluation commands write: their folders are made, before the work whose figures they hold."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path

import pytest

from eval.__main__ import COMMANDS
from eval.__main__ import main as evaluate
from eval.report import make_room, write_values

# {command: (what does its work, words that it needs)}
WORK = {
    "": ("eval.__main__.measure", ["--size", "tiny"]),
    "compare": ("eval.queries.compare.compare", ["a.npz", "a.npz"]),
    "features": ("eval.official.evaluate_features", ["--features", "f", "--prefix", "p", "--splits", "s"]),
    "translators": ("eval.translation.command.measure", ["--translators", "luminance"]),
    "cost": ("eval.cost.command.compare", []),
    "tracks": ("eval.queries.tracks.score", ["a", "a"]),
    "drawings": ("eval.translation.drawings.compare", ["--data-root", "d"]),
}


class BegunError(Exception):
    pass


@pytest.mark.parametrize("command", WORK)
def test_the_folder_is_made_before_the_work(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, words = WORK[command]
    module, _, name = place.rpartition(".")
    assert not command or COMMANDS[command][0] == module

    def begin(*_: object, **__: object) -> None:
        raise BegunError

    monkeypatch.setattr(importlib.import_module(module), name, begin)
    for loader in ("PerQuery", "Gallery"):
        if hasattr(importlib.import_module(module), loader):
            monkeypatch.setattr(f"{module}.{loader}.load", lambda *_: None)
    arguments = [*[command] * bool(command), *words, "--json"]
    with pytest.raises(BegunError):
        evaluate([*arguments, str(tmp_path / "new" / "deep" / "x.json")])
    assert (tmp_path / "new" / "deep").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        evaluate([*arguments, str(tmp_path / "file" / "x.json")])


def test_values_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "x.json"
    make_room(None, "")
    write_values(target, {"map": 0.5})
    assert json.loads(target.read_text()) == {"map": 0.5}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_values(target, {"map": math.nan})
    assert json.loads(target.read_text()) == {"map": 0.5} and len(list(target.parent.iterdir())) == 1
