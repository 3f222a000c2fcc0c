"""Several settings in one call, the table of queries, and the comparison of two models against loops."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from eval import __main__ as command
from eval.queries.compare import compare, main, table
from eval.queries.per_query import PerQuery
from eval.settings import EvalSettings
from mtrl import MTRL
from mtrl.console import cli
from mtrl.models.config import ModelConfig
from tests.helpers import trees


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models and a SYSU-MM01 tree."""
    root = tmp_path_factory.mktemp("compare")
    for seed, name in enumerate(("one", "two", "three", "four")):
        torch.manual_seed(seed)
        MTRL(ModelConfig("test_resnet", (32, 16), num_identities=0)).save_pretrained(root / name)
    trees.sysu(root / "tree")
    trees.regdb(root / "regdb", trials=(1, 2, 3, 4, 5, 6, 7, 8, 9, 10))
    return root


def evaluate(place: Path, *words: str, dataset: str = "sysu", tree: str = "tree") -> int:
    common = ["--dataset", dataset, "--data-root", str(place / tree), "--device", "cpu", "--trials", "2"]
    return command.main([*common, "--cache-dir", str(place / "cache"), *words])


def test_modes_shots_directions_and_checkpoints_in_one_call(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(place / "one"), str(place / "two")]
    words = ["--checkpoint", *names, "--mode", "both", "--shots", "1", "10"]
    assert evaluate(place, *words, "--json", str(tmp_path / "x.json")) == 0
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "x.json").read_text())["settings"]
    keys = [(entry["checkpoint"], entry["mode"], entry["shots"]) for entry in found]
    assert keys == [(name, mode, shots) for name in names for mode in ("all", "indoor") for shots in (1, 10)]
    rows = [line for line in printed.splitlines() if line.startswith(str(place))]
    assert len(rows) == 8 and "2 checkpoints" in printed
    for entry, row in zip(found, rows, strict=True):
        assert f"{100 * entry['mean']['map']:.2f} ±" in row
        flags = ["--checkpoint", entry["checkpoint"], "--mode", entry["mode"], "--shots", str(entry["shots"])]
        assert evaluate(place, *flags, "--json", str(tmp_path / "alone.json")) == 0
        alone = json.loads((tmp_path / "alone.json").read_text())
        assert alone.pop("modality_gap") == pytest.approx(entry["modality_gap"], rel=1e-5)
        assert alone == {name: value for name, value in entry.items() if name != "modality_gap"}, (
            "as it is alone"
        )


@pytest.mark.slow
def test_figures_of_several_settings_have_names_of_their_own(place: Path, tmp_path: Path) -> None:
    words = ["--checkpoint", str(place / "one"), "--mode", "both", "--shots", "1", "10"]
    assert evaluate(place, *words, "--output", str(tmp_path / "f")) == 0
    names = {f"{kind}-ir2vis-{rest}.png" for kind in ("ranking", "modality-gap")
             for rest in ("all-1shot", "all-10shots", "indoor-1shot", "indoor-10shots")}  # fmt: skip
    assert {path.name for path in (tmp_path / "f").iterdir()} == {"cmc.png", *names}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"checkpoint": ("a", "a")}, "names one twice"),
        ({"checkpoint": ("a", "b"), "output": "x"}, "draws one checkpoint"),
        ({"per_query": "x.csv"}, r"writes a \.npz file"),
    ],
)
def test_wrong_combinations_are_refused(changes: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        EvalSettings(**changes)  # type: ignore[arg-type]


def test_the_table_of_queries_gives_the_figures_again(place: Path, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "q.npz"
    words = ["--checkpoint", str(place / "one"), "--direction", "both", "--json", str(tmp_path / "x.json")]
    assert evaluate(place, *words, "--mode", "both", "--per-query", str(target)) == 0
    queries, found = PerQuery.load(target), json.loads((tmp_path / "x.json").read_text())["settings"]
    assert [facts["direction"] for facts in queries.settings] == [entry["direction"] for entry in found]
    for number, entry in enumerate(found):
        for trial, metrics in enumerate(entry["trials"]):
            own = (queries.setting == number) & (queries.trial == trial)
            assert np.nanmean(queries.ap[own]) == pytest.approx(metrics["map"], abs=1e-12)
            valid = queries.rank[own] > 0
            assert np.array_equal(valid, ~np.isnan(queries.ap[own]))
            for rank in (1, 5):
                share = np.mean(queries.rank[own][valid] <= rank)
                assert share == pytest.approx(metrics["cmc"][str(rank)], abs=1e-12)
    for name, identity, camera in zip(queries.query, queries.identity, queries.camera, strict=True):
        assert name.startswith(f"cam{camera}/{identity:04d}/")


def test_splits_follow_one_another_as_trials(place: Path, tmp_path: Path) -> None:
    for split in range(1, 11):
        torch.manual_seed(split)
        MTRL(ModelConfig("test_resnet", (32, 16))).save_pretrained(tmp_path / f"r{split}")
    words = [
        "--checkpoint",
        str(tmp_path / "r{trial}"),
        "--trial",
        "all",
        "--per-query",
        str(tmp_path / "q.npz"),
    ]
    assert evaluate(place, *words, dataset="regdb", tree="regdb") == 0
    queries = PerQuery.load(tmp_path / "q.npz")
    assert sorted(set(queries.trial.tolist())) == list(range(10)) and len(queries.settings) == 1
    people = [set(queries.identity[queries.trial == trial].tolist()) for trial in range(10)]
    assert len({frozenset(some) for some in people}) > 1, "each split has its own test identities"


# Comparison


def drawn(
    seed: int, shift: float = 0.0, people: int = 12, trials: int = 2, checkpoint: str = "a"
) -> PerQuery:
    """A table of three queries per identity; `shift` is added to every AP. The last query of a person has no match."""
    rng = np.random.default_rng(seed)
    rows = [(t, f"{p}/{n}.jpg", p) for t in range(trials) for p in range(people) for n in range(3)]
    ap = np.clip(rng.random(len(rows)) * 0.5 + shift, 0, 1)
    rank = np.where(ap > 0.4, 1, 3)
    missing = np.array([name == "0/2.jpg" for _, name, _ in rows])
    order = rng.permutation(len(rows))  # files need not be in one order
    facts = {"dataset": "x", "direction": "ir2vis", "mode": "all", "shots": 1, "checkpoint": checkpoint}
    columns = (
        np.zeros(len(rows), np.int64), np.array([t for t, _, _ in rows]), np.array([n for _, n, _ in rows]),
        np.array([p for _, _, p in rows]), np.full(len(rows), 3), np.where(missing, np.nan, ap),
        np.where(missing, 0, rank),
    )  # fmt: skip
    return PerQuery((facts,), *(column[order] for column in columns))


def both(*tables: PerQuery) -> PerQuery:
    """The tables as the checkpoints of one file."""
    parts = {}
    for field in dataclasses.fields(PerQuery)[1:]:
        values = [getattr(t, field.name) + (n if field.name == "setting" else 0 if field.name != "query" else "")
                  for n, t in enumerate(tables)]  # fmt: skip
        parts[field.name] = np.concatenate(values)
    return PerQuery(tuple(facts for t in tables for facts in t.settings), **parts)


def slow_difference(
    a: PerQuery, b: PerQuery, identities: list[int], signs: dict[int, int] | None = None
) -> float:
    """D by loops, over a sample of the identities."""
    means = []
    for trial in sorted(set(a.trial.tolist())):
        total, count = 0.0, 0
        for identity in identities:
            for row in range(len(a.ap)):
                if a.trial[row] == trial and a.identity[row] == identity and not math.isnan(a.ap[row]):
                    (other,) = [
                        r for r in range(len(b.ap)) if (b.trial[r], b.query[r]) == (trial, a.query[row])
                    ]
                    total += (signs or {}).get(identity, 1) * (a.ap[row] - b.ap[other])
                    count += 1
        means.append(total / count)
    return sum(means) / len(means)


def test_difference_interval_and_p_by_loops() -> None:
    a, b = drawn(0, 0.06, people=6), drawn(1, people=6)
    first, rank1 = compare(a, b, samples=4000)
    assert (first["metric"], rank1["metric"], first["identities"], first["queries"], first["trials"]) == (
        "map", "rank1", 6, 18, 2,
    )  # fmt: skip
    people = list(range(6))
    assert first["difference"] == pytest.approx(slow_difference(a, b, people), abs=1e-12)
    assert first["a"] - first["b"] == pytest.approx(first["difference"], abs=1e-12)
    generator = random.Random(0)
    slow = sorted(slow_difference(a, b, generator.choices(people, k=6)) for _ in range(400))
    assert first["interval"] == pytest.approx([slow[10], slow[389]], abs=0.03)
    flips = []
    for code in range(2**6):
        signs = {person: 1 if code >> person & 1 else -1 for person in people}
        flips.append(abs(slow_difference(a, b, people, signs)) >= abs(first["difference"]) - 1e-12)
    assert first["p"] == pytest.approx(sum(flips) / 64, abs=0.03)


def test_no_difference_is_not_found_and_a_clear_one_is() -> None:
    a = drawn(0)
    for record in compare(a, a, samples=500):
        assert record["difference"] == 0 and record["p"] == 1 and record["interval"] == [0, 0]
    for record in compare(drawn(0, 0.3), a, samples=500):
        low, high = record["interval"]
        assert record["p"] < 0.01 and 0 < low < record["difference"] < high


def test_identities_count_and_not_queries() -> None:
    """Many queries of one person are one observation: whatever their number, p cannot be small."""
    a, b = drawn(0, 0.5, people=1), drawn(1, people=1)
    assert compare(a, b, samples=500)[0]["p"] > 0.9


def test_seeds_are_paired_in_their_order() -> None:
    a, b = both(drawn(0, 0.1), drawn(2, 0.3)), both(drawn(1), drawn(3))
    record = compare(a, b, samples=500)[0]
    alone = [compare(drawn(s, shift), drawn(t), samples=100)[0] for s, shift, t in ((0, 0.1, 1), (2, 0.3, 3))]
    expected = [one["difference"] for one in alone]
    assert record["seeds"]["differences"] == pytest.approx(expected, abs=1e-12) and record["trials"] == 2
    assert record["difference"] == pytest.approx(np.mean(expected), abs=1e-12)
    assert record["seeds"]["std"] == pytest.approx(np.std(expected, ddof=1)) and 0 < record["seeds"]["p"] < 1
    assert "n = 2" in table([record])
    with pytest.raises(ValueError, match="A has 2 checkpoints and B 1"):
        compare(a, drawn(1))


def test_other_queries_and_settings_are_refused() -> None:
    a, b = drawn(0), drawn(1)
    other = dataclasses.replace(b, query=np.where(b.query == "3/1.jpg", "3/9.jpg", b.query))
    with pytest.raises(ValueError, match=r"not of the same queries, first 3/1\.jpg in trial 0"):
        compare(a, other)
    for change in ({"mode": "indoor"}, {"spectrum": "thermal"}, {"cmc_level": "image"}):
        with pytest.raises(ValueError, match="no setting in common"):
            compare(a, dataclasses.replace(b, settings=({**b.settings[0], **change},)))


def test_the_command(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for file, names in zip(files, (("one", "two"), ("three", "four")), strict=True):
        chosen = [str(place / name) for name in names]
        assert evaluate(place, "--checkpoint", *chosen, "--per-query", str(file)) == 0
    target = tmp_path / "c" / "x.json"
    assert main([*map(str, files), "--samples", "200", "--json", str(target)]) == 0
    record = json.loads(target.read_text())["comparisons"]
    assert [one["metric"] for one in record] == ["map", "rank1"] and len(
        record[0]["seeds"]["differences"]
    ) == 2
    assert "| A - B |" in capsys.readouterr().out
    assert main([*map(str, files), "--samples", "200", "--json", str(target)]) == 0
    assert json.loads(target.read_text())["comparisons"] == record, "the same samples each time"


@pytest.mark.parametrize(
    "damage", ["missing", "empty", "text", "cut", "pickle", "columns", "types", "setting"]
)
def test_damaged_tables_end_in_one_line(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
    drawn(0).save(good)
    if damage == "empty":
        bad.touch()
    elif damage == "text":
        bad.write_text("no table")
    elif damage == "cut":
        bad.write_bytes(good.read_bytes()[:-200])
    elif damage != "missing":
        with np.load(good) as file:
            columns = {name: file[name] for name in file.files}
        columns |= {
            "pickle": {"query": np.array([{}], dtype=object)},
            "columns": {"ap": columns["ap"][:-1]},
            "types": {"rank": columns["rank"].astype(float)},
            "setting": {"setting": columns["setting"] + 1},
        }[damage]
        np.savez(bad, **columns)
    with pytest.raises(SystemExit) as ended:
        cli.run(lambda: main([str(good), str(bad)]))
    message = capsys.readouterr().err
    assert (
        ended.value.code == 2
        and str(bad) in message
        and "--per-query" in message
        and message.count("\n") == 1
    )
