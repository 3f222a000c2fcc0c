"""The one reader of `metrics.jsonl`: what is no record is left out."""

from __future__ import annotations

import json
from pathlib import Path

from mtrl.files.metrics_log import read_records


def test_lines_that_are_no_records_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    good = [{"kind": "train", "step": 1, "loss": 0.5}, {"kind": "eval", "step": 2, "map_ir2vis": 0.25}]
    bad = ["", "[1]", "7", '{"kind": "train"}', '{"step": 1}', '{"kind": 3, "step": 1}', "[" * 100_000]
    bad += ['{"kind": "train", "step": "1"}', '{"kind": "train", "step": true}', '{"kind": "tr']
    path.write_bytes(
        "\n".join([json.dumps(good[0]), *bad[:-1], json.dumps(good[1]), bad[-1]]).encode() + b"\xff"
    )
    assert read_records(path) == good


def test_no_file_and_a_huge_one_hold_no_records(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_records(path) == []
    path.write_text('{"kind": "train", "step": 1}\n')
    size = path.stat().st_size
    assert len(read_records(path, size)) == 1 and read_records(path, size - 1) == []
