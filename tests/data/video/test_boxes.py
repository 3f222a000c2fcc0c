"""MOTChallenge files: what counts, in which order, and what is refused by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtrl.data.video.boxes import Box, MotBoxes


def mot(folder: Path, text: str, **options: float) -> MotBoxes:
    path = folder / "boxes.txt"
    path.write_text(text)
    return MotBoxes(path, **options)


def test_boxes_come_with_their_frame(tmp_path: Path) -> None:
    lines = "1,7,10,20,30,60,0.9,-1,-1,-1\n1, 8 ,1.5,2,3,4\n3.0 7 11 21 31 61 -1 1 1\n"
    for text in (lines, "\ufeff" + lines.replace("\n", "\r\n"), "\n".join(reversed(lines.splitlines()))):
        boxes = mot(tmp_path, text)
        assert (boxes.count, boxes.last_frame) == (3, 3)
        assert sorted(boxes.at(0), key=lambda box: box.track) == [
            Box(7, 10, 20, 30, 60, 0.9),
            Box(8, 1.5, 2, 3, 4, -1),
        ]
        assert boxes.at(1) == [] and boxes.at(2) == [Box(7, 11, 21, 31, 61, -1)] and boxes.at(3) == []
    boxes = mot(tmp_path, lines)
    assert boxes.at(2) == [Box(7, 11, 21, 31, 61, -1)]  # frames may be passed over


def test_confidence_decides(tmp_path: Path) -> None:
    text = "1,1,0,0,9,9,0\n1,2,0,0,9,9,0.3\n1,3,0,0,9,9,0.5\n1,4,0,0,9,9,-1\n"
    assert [box.track for box in mot(tmp_path, text).at(0)] == [2, 3, 4]
    assert [box.track for box in mot(tmp_path, text, min_confidence=0.5).at(0)] == [3, 4]
    with pytest.raises(ValueError, match="holds no box"):
        mot(tmp_path, "1,1,0,0,9,9,0\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2,1,0,0,9", "expected frame,id"),
        ("2,1,0,,9,9,1", "expected frame,id"),
        ("2,1,0,0,nan,9,1", "expected frame,id"),
        ("frame,id,x,y,w,h", "expected frame,id"),
        ("0,1,0,0,9,9,1", "whole number from 1 on"),
        ("2.5,1,0,0,9,9,1", "whole number from 1 on"),
        ("2,-1,0,0,9,9,1", "run a tracker"),
        ("2,1e30,0,0,9,9,1", "below 2"),
        ("2,9007199254740993,0,0,9,9,1", "below 2"),
        ("2,1,0,0,0,9,1", "width and height above 0"),
        ("2,1,0,0,9,1e9,1", "width and height above 0"),
    ],
)
def test_a_wrong_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"boxes\.txt, line 2: .*{message}"):
        mot(tmp_path, f"1,1,0,0,9,9,1\n{line}\n")


def test_a_person_is_once_in_a_frame(tmp_path: Path) -> None:
    for text in ("1,1,0,0,9,9\n1,1,5,5,9,9\n", "2,1,0,0,9,9\n1,1,0,0,9,9\n2,1,5,5,9,9\n"):
        boxes = mot(tmp_path, text) if text.startswith("2") else None
        with pytest.raises(ValueError, match=r"person 1 is in frame \d twice"):
            (boxes or mot(tmp_path, text)).at(1)


def test_no_file_no_boxes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no box"):
        mot(tmp_path, "")
    with pytest.raises(FileNotFoundError):
        MotBoxes(tmp_path / "none.txt")
    with pytest.raises(OSError, match="no ordinary file"):
        MotBoxes(tmp_path)
