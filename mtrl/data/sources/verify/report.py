"""The report of a data set's check: counts, problems and notes, as objects and as text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mtrl.files.filenames import SHOWN, as_text, some_of


@dataclasses.dataclass(frozen=True)
class Finding:
    """A problem or a note. `advice` says what to do; it may be empty."""

    what: str
    advice: str = ""


@dataclasses.dataclass
class Report:
    """What a check found.

    counts    numbers of images and identities
    problems  faults with which the data set cannot be used, or gives other metrics than the published ones
    notes     things worth knowing that do no harm
    """

    dataset: str
    root: str
    compare_counts: bool = True
    counts: list[tuple[str, int, int | None]] = dataclasses.field(default_factory=list)
    problems: list[Finding] = dataclasses.field(default_factory=list)
    notes: list[Finding] = dataclasses.field(default_factory=list)

    def problem(self, what: str, advice: str = "") -> None:
        self.problems.append(Finding(what, advice))

    def note(self, what: str, advice: str = "") -> None:
        self.notes.append(Finding(what, advice))

    def gap(self, what: str, advice: str = "") -> None:
        """Records something that the published set has and this one lacks: a problem, unless this is only a part."""
        (self.problem if self.compare_counts else self.note)(what, advice)

    def count(self, what: str, found: int, published: int | None = None, advice: str = "") -> bool:
        """Records a count, and a problem if it differs from the published one. Returns whether they are equal."""
        expected = published if self.compare_counts else None
        self.counts.append((what, found, expected))
        if expected is None or found == expected:
            return True
        how = "more" if found > expected else "fewer"
        self.problem(
            f"{what}: {found:,} found, {expected:,} published ({abs(found - expected):,} {how})", advice
        )
        return False

    def summary(self) -> str:
        """The result in one line."""
        count = len(self.problems)
        return "no problem found" if not count else f"{count} problem{'s' * (count > 1)} found"

    def text(self) -> str:
        """The whole report as text."""
        lines = [f"{self.dataset} in {self.root}"] + [""] * bool(self.counts)
        width = max((len(what) for what, _, _ in self.counts), default=0)
        for what, found, expected in self.counts:
            mark = "" if expected is None else "  ok" if found == expected else f"  should be {expected:,}"
            lines.append(f"  {what:<{width}}  {found:>8,}{mark}")
        for title, findings in (("Problems", self.problems), ("Notes", self.notes)):
            if findings:
                lines += ["", f"{title}:", *_listed(findings)]
        return as_text("\n".join([*lines, "", self.summary().capitalize() + "."]))


def _listed(findings: Sequence[Finding]) -> list[str]:
    """Findings as lines of text. Advice that is the same for several in a row is given once, after the last."""
    lines = []
    for finding, following in zip(findings, (*findings[1:], Finding("")), strict=True):
        lines.append(f"  - {finding.what}")
        if finding.advice and finding.advice != following.advice:
            lines.append(f"      -> {finding.advice}")
    return lines


def some(items: Sequence[str], shown: int = SHOWN) -> str:
    """The first `shown` items of a list in one line, with the number of all."""
    return some_of(items, shown)
