"""Tables of images: CSV or Parquet files with named columns, read into text cells. Needs no pandas.

Rules for both kinds of file:
- Case and surrounding spaces of column names do not matter. Surrounding spaces of cells are removed.
- Rows without any content are left out.
- What programs write for a missing value (`nan`, `None`, `<NA>`, ...) is an empty cell.
- A column of whole numbers that was saved as decimals (1.0, 2.0) becomes whole numbers.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mtrl.files.text import read_text

SUFFIXES = (".csv", ".parquet")
MISSING = ("nan", "NaN", "<NA>", "NaT", "None", "null", "NULL")
_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_WHOLE_DECIMAL = re.compile(r"([+-]?[0-9]+)\.0+")
_PANDAS_INDEX = "__index_level_"


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table.

    where  name of the row in errors, such as "list.csv, line 3, row 2"
    cells  {column: text} for every required and optional column
    """

    where: str
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        """The cell's text; "" if it is empty or the table has no such column."""
        return self.cells[column]


@dataclasses.dataclass(frozen=True)
class _Content:
    """The unprocessed content of a file: column names, and for each row its place in the file and its cells."""

    names: list[str]
    rows: list[tuple[str, list[str]]]


def is_table(path: Path) -> bool:
    """Whether this is an existing file with the ending of a table."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def read_table(
    path: Path, required: Sequence[str], optional: Sequence[str] = (), known: Sequence[str] = ()
) -> list[Row]:
    """Reads the rows of a table, at least one.

    required  names of columns, in lower case, that must exist and have no empty cell
    optional  names of further columns that are read if they exist
    Other columns are ignored, with a warning that names them unless they are `known`. A column `path` gets forward
    slashes.

    Raises ValueError for a missing or repeated column, another delimiter than a comma, a row of another length, an
    empty required cell, a table without rows, and a damaged file. The message names the file, the row below the column
    names, counted from 1, and for CSV the line. Raises ImportError for Parquet without pyarrow, and OSError for a file
    that cannot be read.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} must be a .csv or .parquet table")
    wanted = (*required, *optional)
    is_parquet = path.suffix.lower() == ".parquet"
    content = _read_parquet(path, wanted) if is_parquet else _read_csv(path, required, wanted)
    places = _columns(path, content.names, required, optional, known)
    rows = [
        Row(where, {name: _cell(cells[places[name]]) if name in places else "" for name in wanted})
        for where, cells in content.rows
        if any(cell.strip() for cell in cells)
    ]
    if not rows:
        raise ValueError(f"{path} lists no images: it has a head, but no row")
    rows = [Row(row.where, _tidy(row.cells)) for row in _as_whole_numbers(rows, wanted)]
    for row in rows:
        empty = [name for name in required if not row[name]]
        if empty:
            raise ValueError(f"{row.where}: {', '.join(empty)} is empty")
    return rows


def whole_decimal(text: str) -> str:
    """The whole number in a text such as "6.0", as spreadsheets and pandas write it: "6". Other text is unchanged."""
    match = _WHOLE_DECIMAL.fullmatch(text)
    return match[1] if match else text


def _read_csv(path: Path, required: Sequence[str], wanted: Sequence[str]) -> _Content:
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    rows: list[tuple[str, list[str]]] = []
    names: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            where = f"{path}, line {line}"
            line = reader.line_num + 1  # a quoted cell may hold line ends
            if not any(cell.strip() for cell in cells):
                continue
            if names is None:
                names = cells
                if not set(required) <= set(map(_column_name, cells)):
                    _check_delimiter(where, cells, wanted)
                continue
            where = f"{where}, row {len(rows) + 1}"
            if len(cells) != len(names):
                raise ValueError(
                    f"{where}: the number of columns differs from the first line's ({len(cells)}, not "
                    f"{len(names)}); put quotes around a text that holds a comma"
                )
            rows.append((where, cells))
    except csv.Error as error:
        raise ValueError(f"{path}, line {line}: not a readable CSV table ({error})") from error
    if names is None:
        raise ValueError(f"{path} is empty; its first line must name the columns: {', '.join(wanted)}")
    return _Content(names, rows)


def _check_delimiter(where: str, head: list[str], wanted: Sequence[str]) -> None:
    """Raises ValueError if the first line separates the columns' names by another character than a comma."""
    text = ",".join(head)
    for sign, name in _OTHER_DELIMITERS.items():
        parts = [_column_name(part) for part in text.replace('"', "").split(sign)]
        if len(parts) > 1 and set(parts) & set(wanted):
            raise ValueError(
                f"{where}: the delimiter is {sign!r}; columns are separated by {name}, but must be by commas: save "
                "the table as comma-separated CSV"
            )


def _read_parquet(path: Path, wanted: Sequence[str]) -> _Content:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ImportError(
            f"reading {path} needs pyarrow: python -m pip install pyarrow, or save the table as CSV"
        ) from None
    try:
        # From a path instead of a file, pyarrow would derive columns from the names of the folders in it.
        with path.open("rb") as file:
            table = parquet.ParquetFile(file).read()
        names = [str(name) for name in table.schema.names]
        used = [n for n, name in enumerate(names) if _column_name(name) in wanted]
        columns = [_texts(table.column(n).to_pylist(), f"{path}, column {names[n]}") for n in used]
    except (OSError, ValueError, TypeError, KeyError, NotImplementedError) as error:  # pyarrow's errors
        if isinstance(error, FileNotFoundError) or str(path) in str(error):
            raise
        raise ValueError(f"{path} is not a readable Parquet table: {error}") from error
    # Columns that are not read keep their name, for the warning, but get empty cells.
    blank = [""] * table.num_rows
    whole = dict(zip(used, columns, strict=True))
    cells = zip(*(whole.get(n, blank) for n in range(len(names))), strict=True)
    return _Content(names, [(f"{path}, row {n}", list(row)) for n, row in enumerate(cells, 1)])


def _texts(values: Sequence[Any], where: str) -> list[str]:
    """The values of a column as text, as a CSV file would hold them."""
    texts = []
    for row, value in enumerate(values, 1):
        if isinstance(value, (list, dict, tuple)):
            raise ValueError(f"{where}, row {row}: a cell must be one value, not {type(value).__name__}")
        texts.append(_text(value))
        if "\0" in texts[-1]:
            raise ValueError(f"{where}, row {row}: a text holds a zero byte")
    return texts


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return f"{int(value)}.0"
    return value.decode() if isinstance(value, bytes) else str(value)


def _columns(
    path: Path,
    names: Sequence[str],
    required: Sequence[str],
    optional: Sequence[str],
    known: Sequence[str] = (),
) -> dict[str, int]:
    """{wanted column: its index}. Raises ValueError for a column that is missing or exists twice."""
    wanted = (*required, *optional)
    plain = [_column_name(name) for name in names]
    twice = [name for name, count in Counter(plain).items() if count > 1 and name in wanted]
    if twice:
        raise ValueError(f"{path}: the column {', '.join(twice)} is there twice; keep one of them")
    has = ", ".join(name or "(no name)" for name in plain)
    missing = [name for name in required if name not in plain]
    if missing:
        also = f", and as far as known {', '.join(optional)}" if optional else ""
        raise ValueError(
            f"{path}: no column {', '.join(missing)}; needed are {', '.join(required)}{also}; it has {has}"
        )
    named = (*wanted, *known)
    unused = [name for name in plain if name and name not in named and not name.startswith(_PANDAS_INDEX)]
    if unused:
        warnings.warn(
            f"{path}: the columns {', '.join(unused)} are not used; used are {', '.join(wanted)}",
            stacklevel=3,
        )
    return {name: place for place, name in enumerate(plain) if name in wanted}


def _as_whole_numbers(rows: Sequence[Row], columns: Iterable[str]) -> list[Row]:
    """The rows, with whole numbers in each column in which all cells are decimals that end in .0."""
    whole = {
        name
        for name in columns
        if name != "path" and all(_WHOLE_DECIMAL.fullmatch(row[name]) for row in rows if row[name])
    }
    return [
        Row(
            row.where,
            {name: whole_decimal(text) if name in whole else text for name, text in row.cells.items()},
        )
        for row in rows
    ]


def _tidy(cells: Mapping[str, str]) -> Mapping[str, str]:
    path = cells.get("path", "")
    return {**cells, "path": PurePosixPath(path.replace("\\", "/")).as_posix()} if path else cells


def _cell(text: str) -> str:
    text = text.strip()
    return "" if text in MISSING else text


def _column_name(name: str) -> str:
    return name.strip().strip("\ufeff").strip().lower()
