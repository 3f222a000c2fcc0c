"""The tables of an ablation: results, gains and targets in Markdown, results as CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from train.ablation.results import DIRECTIONS, METRICS, Row
from train.presets import METHODS

# What a row may differ in besides its method, and the title of that column.
_PLACES = {"dataset": "data set", "backbone": "backbone", "translator": "translator"}


def varying(rows: Sequence[Row]) -> list[str]:
    """Which of data set, backbone and translator the rows differ in."""
    return [name for name in _PLACES if len({getattr(row, name) for row in rows}) > 1]


def place_of(row: Row, rows: Sequence[Row]) -> list[str]:
    """Data set, backbone and translator of a row, as far as the rows differ in them.

    The translator is "none" for a method without transition images, and "its own" for one that names it itself.
    """
    method = METHODS[row.method]
    fixed = "none" if not method["transition"] else "its own" if "translator" in method else ""
    return [(name == "translator" and fixed) or getattr(row, name) for name in varying(rows)]


def tested_on_real(rows: Sequence[Row]) -> list[str]:
    """The directions in which a row was tested on real people: both or none."""
    return [direction for direction in DIRECTIONS if any(row.real(direction) for row in rows)]


def csv_table(rows: Sequence[Row]) -> str:
    """A line for each run, metrics in percent."""
    figures = [f"{direction}_{metric}" for direction in DIRECTIONS for metric in (*METRICS, "minp")]
    real = tested_on_real(rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    named = [f"real_{direction}_map" for direction in real]
    writer.writerow(["dataset", "backbone", "method", "translator", "seed", *figures, *named])
    for row in rows:
        for seed, result in row.results.items():
            values = [
                f"{100 * result[d][m]:.3f}" if m in result[d] else ""
                for d in DIRECTIONS
                for m in (*METRICS, "minp")
            ]
            values += [f"{100 * result['real'][d]['map']:.3f}" if "real" in result else "" for d in real]
            dataset = row.dataset or result.get("dataset", "")
            writer.writerow([dataset, row.backbone, row.method, row.translator, seed, *values])
    return buffer.getvalue()


def latex_table(rows: Sequence[Row]) -> str:
    """A tabular of the package booktabs: mean and sample deviation over the seeds, in percent."""
    if not rows:
        return "% no finished run\n"
    names = [_PLACES[name] for name in varying(rows)]
    titles = [f"{direction} {metric}" for direction in DIRECTIONS.values() for metric in METRICS.values()]
    real = tested_on_real(rows)
    titles += [f"real {DIRECTIONS[direction]} mAP" for direction in real]
    lines = [[*names, "method", "seeds", *titles]]
    for row in rows:
        cells = [_spread(row.values(direction, metric)) for direction in DIRECTIONS for metric in METRICS]
        cells += [_spread(row.real(direction)) for direction in real]
        lines.append([*place_of(row, rows), row.label, str(len(row.results)), *cells])
    body = [" & ".join(map(_latex, cells)) + r" \\" for cells in lines]
    columns = "l" * (len(names) + 1) + "r" * (len(titles) + 1)
    start, end = f"\\begin{{tabular}}{{{columns}}}", r"\end{tabular}"
    return "\n".join([start, r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule", end, ""])


def _latex(text: str) -> str:
    for mark in "&%$#_{}":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("->", r"$\to$").replace("±", r"$\pm$")


def result_table(rows: Sequence[Row]) -> str:
    """Mean and deviation over the seeds, and what was trained."""
    if not rows:
        return "No finished run."
    titles = ["method", "row", *(_PLACES[name] for name in varying(rows)), "seeds"]
    real = tested_on_real(rows)
    lines = [
        titles
        + [f"{direction} {metric}" for direction in DIRECTIONS.values() for metric in METRICS.values()]
        + [f"real {DIRECTIONS[direction]} mAP" for direction in real]
        + ["trained with"]
    ]
    for row in rows:
        cells = [_spread(row.values(direction, metric)) for direction in DIRECTIONS for metric in METRICS]
        cells += [_spread(row.real(direction)) for direction in real]
        count = str(len(row.results))
        lines.append([row.method, row.label, *place_of(row, rows), count, *cells, row.terms])
    return _markdown(lines)


def gain_table(compared: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> str:
    """Gains of methods over others, paired by seed."""
    if not compared:
        return ""
    titles = ["gain of", "over", *(_PLACES[name] for name in varying(rows)), "seeds"]
    real = any("real" in pair for pair in compared)
    lines = [titles + [f"{name} {what}" for name in DIRECTIONS.values() for what in ("mAP", "p")]]
    lines[0] += ["real mAP, mean of both", "p"] * real
    for pair in compared:
        measured = [pair[direction]["map"] for direction in DIRECTIONS] + [pair.get("real")] * real
        cells = [
            cell
            for one in measured
            for cell in ((_spread(one["differences"], "+"), _p(one["p"])) if one else ("", ""))
        ]
        names = [
            pair["method"],
            pair["control"],
            *(pair[name] for name in varying(rows)),
            str(len(pair["seeds"])),
        ]
        lines.append(names + cells)
    text = (
        "Gains in mAP, points, paired by seed: mean ± sample deviation of the differences, and the two-sided p of the "
        "paired t-test over as many seeds as the table says, not corrected for the number of comparisons."
    )
    return f"{text}\n\n{_markdown(lines)}"


def target_table(reached: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> str:
    """Which of the project's targets hold."""
    if not reached:
        return ""
    titles = ["target (mean gain in mAP)", *(_PLACES[name] for name in varying(rows))]
    lines = [titles + [f"{name}{what}" for name in DIRECTIONS.values() for what in ("", " holds")]]
    for pair in zip(reached[:: len(DIRECTIONS)], reached[1 :: len(DIRECTIONS)], strict=True):
        least = " / ".join(dict.fromkeys(f"{one['least']:g}" for one in pair))
        wanted = f"at least {least} points" if pair[0]["least"] else "not negative"
        cells = [cell for one in pair for cell in (f"{one['gain']:+.1f}", "yes" if one["holds"] else "no")]
        name = f"{pair[0]['method']} over {pair[0]['control']}: {wanted}"
        lines.append([name, *(pair[0][place] for place in varying(rows)), *cells])
    return _markdown(lines)


def _markdown(lines: list[list[str]]) -> str:
    rows = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([rows[0], "|---" * len(lines[0]) + "|", *rows[1:]])


def _spread(values: list[float], sign: str = "") -> str:
    """Mean and sample deviation; "" of no values."""
    if not values:
        return ""
    deviation = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):{sign}.1f}{deviation}"


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
