"""The list of deliberate mistakes fits the source as it is; `python -m tests.robustness.mutations` tries each."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT
from tests.robustness.mutation_list import MUTATIONS, Mutation
from tests.robustness.mutations import mutated


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_every_change_applies_and_its_tests_exist(mutation: Mutation) -> None:
    source = (ROOT / mutation.path).read_text(encoding="utf-8")
    assert mutation.path.startswith(("mtrl/", "eval/", "train/"))
    assert mutated(source, mutation) != source
    for test in mutation.tests:
        path, _, name = test.partition("::")
        assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")


def test_there_is_one_for_every_formula_and_rule() -> None:
    assert len(set(map(str, MUTATIONS))) == len(MUTATIONS) >= 60
    losses = {path.name for path in (ROOT / "mtrl" / "losses").glob("*.py")} - {"__init__.py"}
    objective = {path.name for path in (ROOT / "train" / "translator" / "objective").glob("*.py")} - {
        "__init__.py"
    }
    changed = {mutation.path for mutation in MUTATIONS}
    for folder, names in (("mtrl/losses", losses), ("train/translator/objective", objective)):
        assert {f"{folder}/{name}" for name in names} <= changed
    for path in (
        "mtrl/retrieval/metrics/ranking.py", "mtrl/retrieval/metrics/labels.py", "mtrl/retrieval/metrics/rerank.py",
        "mtrl/retrieval/nearest.py", "eval/protocols.py", "eval/score.py", "mtrl/data/sampler.py",
        "mtrl/data/sources/sysu.py", "mtrl/data/sources/regdb.py", "mtrl/data/sources/llcm.py",
        "train/run/distributed.py",
        "mtrl/translate/spectral.py", "mtrl/translate/learned.py", "mtrl/translate/luminance.py",
        "train/translator/targets.py",
    ):  # fmt: skip
        assert path in changed


def test_stale_changes_are_named() -> None:
    change = Mutation("mtrl/x.py", "a + b", "a - b", ())
    assert mutated("x = a + b\n", change) == "x = a - b\n"
    for source, message in (("x = a\n", "0 times"), ("x = (a + b) * (a + b)\n", "2 times")):
        with pytest.raises(ValueError, match=message):
            mutated(source, change)
    with pytest.raises(ValueError, match="does not parse"):
        mutated("x = a + b\n", Mutation("mtrl/x.py", "a + b", "a +", ()))
    with pytest.raises(ValueError, match="changes nothing"):
        mutated("x = a + b\n", Mutation("mtrl/x.py", "a + b", "(a + b)", ()))


def run(*mutations: Mutation) -> tuple[int, str]:
    """(exit code, what is printed) in a process of its own: the plugins of this one do not run twice in one."""
    code = (
        "import sys, tests.robustness.mutations as m; from tests.robustness.mutation_list import Mutation; "
    )
    code += f"m.MUTATIONS = ({', '.join(map(repr, mutations))},); sys.exit(m.main([]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_a_change_is_killed_and_one_that_tests_do_not_see_survives() -> None:
    test = ("tests/losses/test_losses.py::test_smoothing_of_the_identity_loss",)
    path, old = "mtrl/losses/identity.py", "label_smoothing=smoothing"
    seen = Mutation(path, old, "label_smoothing=0.0", test)
    unseen = Mutation("mtrl/losses/triplet.py", "F.softplus(gap * gap", "F.relu(gap * gap", test)
    broken = Mutation(path, "from torch import Tensor", "from torch import Tensors", test)
    code, shown = run(seen)
    assert code == 0 and "1 of 1 killed" in shown, shown
    code, shown = run(seen, unseen, broken)
    assert code == 1 and "1 of 3 killed" in shown and "SURVIVED" in shown and "BROKEN" in shown, shown
    assert old in (ROOT / path).read_text(encoding="utf-8")
