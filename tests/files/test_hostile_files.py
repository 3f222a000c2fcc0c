"""Files from strangers: nothing unpickles, and what lies about its size, its place or its kind is refused in words."""

from __future__ import annotations

import ast
import json
import os
import resource
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mtrl import MTRL, load_pretrained
from mtrl.console.cli import read_yaml
from mtrl.files.tensor_file import tensor_digest
from mtrl.models.checkpoint.checks import AllocationLimit
from mtrl.models.config import ModelConfig
from mtrl.retrieval.gallery import Gallery
from mtrl.translate.files import read_translator, save_translator
from mtrl.translate.learned import Learned, LearnedConfig
from tests.helpers.paths import ROOT

SMALL = ModelConfig("test_resnet", (32, 16))
# What runs, or can run, what a file holds; as a module, or as a name called with or without its module.
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {"torch.load", "torch.jit.load", "torch.hub.load", "torch.export.load", "yaml.load", "yaml.full_load"}
CALLS |= {
    "yaml.unsafe_load",
    "yaml.load_all",
    "os.system",
    "os.popen",
    "pandas.read_pickle",
    "pd.read_pickle",
}


def dotted(node: ast.expr) -> str:
    """ "torch.load" of a call's function; "" for what is no chain of names."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{before}.{node.attr}" if (before := dotted(node.value)) else ""
    return ""


def forbidden(source: str) -> Iterator[str]:
    """What in a program would run a file's content, with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
            names = [node.module or "", *names] if isinstance(node, ast.ImportFrom) else names
            bad = [name for name in names if name.split(".")[0] in MODULES]
            loads = [f"{getattr(node, 'module', '')}.{name}" for name in names]
            bad += [name for name in loads if name in CALLS]
            yield from (f"{node.lineno}: import {name}" for name in bad)
        if isinstance(node, ast.Call):
            called = dotted(node.func)
            given = {word.arg: str(getattr(word.value, "value", None)) for word in node.keywords}
            tensors_alone = called == "torch.load" and given.get("weights_only") == "True"
            if (
                (called in CALLS and not tensors_alone)
                or called in BUILTINS
                or called.split(".")[0] in MODULES
            ):
                yield f"{node.lineno}: {called}"
            if called in ("np.load", "numpy.load") and given.get("allow_pickle") != "False":
                yield f"{node.lineno}: {called} without allow_pickle=False"
            if given.get("allow_pickle") == "True" or given.get("shell") == "True":
                yield f"{node.lineno}: {called} with allow_pickle or shell"
            if given.get("weights_only") == "False":
                yield f"{node.lineno}: {called} with weights_only=False"


def test_no_program_here_runs_what_a_file_holds() -> None:
    files = [ROOT / "app.py", *(p for room in ("mtrl", "train", "eval") for p in (ROOT / room).rglob("*.py"))]
    assert len(files) > 100
    found = [
        f"{path.relative_to(ROOT)}:{what}" for path in files for what in forbidden(path.read_text("utf-8"))
    ]
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from joblib import load", "from torch import load", "torch.load(path)", "yaml.load(text)",
        "eval(text)", "exec(text)", "np.load(path)", "np.load(path, allow_pickle=True)", "marshal.loads(data)",
        "import shelve as s", "f(path, weights_only=False)", "subprocess.run(line, shell=True)",
        "from yaml import load",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_is_for(line: str) -> None:
    assert list(forbidden(line))


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path, weights_only=True)",
        "model.eval()",
        "np.load(path, allow_pickle=False)",
        "yaml.safe_load(text)",
    ],
)
def test_the_search_lets_other_things_be(line: str) -> None:
    assert not list(forbidden(line))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    torch.manual_seed(0)
    MTRL(SMALL).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "model"
    copy.mkdir()
    for name in ("config.json", "model.safetensors"):
        (copy / name).write_bytes((whole / name).read_bytes())
    return copy


def refused(action: Callable[[], object], words: str, megabytes: float = 40, seconds: float = 20) -> None:
    """Refused in one sentence, in bounded memory (of Python; files are mapped) and time."""
    tracemalloc.start()
    begun = time.monotonic()
    try:
        with pytest.raises(ValueError, match=words) as caught:
            action()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 2000 and "\n" not in str(caught.value).strip()
    assert peak < megabytes * 1e6 and time.monotonic() - begun < seconds


def header_of(path: Path) -> dict[str, object]:
    content = path.read_bytes()
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


def with_header(path: Path, header: bytes, data: bytes = b"") -> None:
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def test_headers_that_lie(folder: Path) -> None:
    path = folder / "model.safetensors"
    metadata = header_of(path)["__metadata__"]

    def header(**tensors: object) -> bytes:
        return json.dumps({"__metadata__": metadata, **tensors}).encode()

    def entry(shape: list[int], start: int, end: int, kind: str = "F32") -> dict[str, object]:
        return {"dtype": kind, "shape": shape, "data_offsets": [start, end]}

    data = bytes(64)
    cases = {
        "out of the file": header(a=entry([16], 0, 1 << 40)),
        "overlapping": header(a=entry([16], 0, 64), b=entry([16], 0, 64)),
        "a gap": header(a=entry([8], 0, 32), b=entry([4], 48, 64)),
        "backwards": header(a=entry([16], 64, 0)),
        "enormous": header(a=entry([1 << 40, 1 << 40], 0, 64)),
        "overflow": header(a=entry([1 << 62, 4], 0, 64)),
        "negative": header(a=entry([-16], 0, 64)),
        "unknown type": header(a=entry([16], 0, 64, "OBJECT")),
        "no object": b"[1, 2]",
        "not JSON": b"{" * 300,
        "deep": b'{"a":' * 100_000,
        "no text": b"\xff" * 64,
    }
    for name, bad in cases.items():
        with_header(path, bad, data)
        try:
            refused(lambda: load_pretrained(folder), "damaged")
        except BaseException as error:
            raise AssertionError(f"a header: {name}") from error
    for length in (0, 7, 1 << 62, (1 << 64) - 1, 20_000_000):
        path.write_bytes(struct.pack("<Q", length) + b"{}")
        refused(lambda: load_pretrained(folder), "damaged")
    with path.open("wb") as file:  # a header that is really there, and too large
        file.write(struct.pack("<Q", 50_000_000))
        file.truncate(60_000_000)
    refused(lambda: load_pretrained(folder), "header would take 50,000,000 bytes", megabytes=5)


def test_shapes_types_and_names_are_compared_before_tensors_are_read(folder: Path) -> None:
    path = folder / "model.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    good = load_file(path)
    name = "neck.norm.weight"
    for changes, words in (
        ({name: good[name].double()}, "of type F64"),
        ({name: torch.ones(96, dtype=torch.int64)}, "of type I64"),
        ({name: torch.ones(96, dtype=torch.bool)}, "of type BOOL"),
        ({name: torch.ones(1, 96)}, r"is \[1, 96\], but"),
        ({"neck.norm.num_batches_tracked": torch.tensor(1.0)}, "of type F32"),
        ({"../../evil": torch.ones(1)}, "unknown 1 tensors"),
    ):
        save_file({**good, **changes}, path, metadata=metadata)
        refused(lambda: load_pretrained(folder), words)


def test_values_that_are_not_finite_are_refused_though_the_checksum_fits(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["neck.norm.weight"][3] = float("nan")
    text = json.dumps({**json.loads((folder / "config.json").read_text()), "sha256": tensor_digest(tensors)})
    save_file(tensors, folder / "model.safetensors", metadata={"mtrl": text})
    refused(lambda: load_pretrained(folder), "not finite")


def config_with(folder: Path, **changes: object) -> str:
    return json.dumps({**json.loads((folder / "config.json").read_text()), **changes})


def test_configurations_that_lie(folder: Path) -> None:
    good = (folder / "config.json").read_text()
    cases = [
        (good.replace('"stem"', '"stem": "dual", "stem"'), "stands there twice"),
        (config_with(folder, image_size=[True, 32]), "image_size"),
        (config_with(folder, mean=[True, 0, 0]), "mean and std"),
        (config_with(folder, std=[1e-300, 1, 1]), "std must be positive"),
        (config_with(folder, mean=[float("inf"), 0, 0]), "no number"),
        (config_with(folder, num_identities=True), "num_identities"),
        (config_with(folder, last_stride=1.0), "last_stride"),
        ('{"a":' * 3000 + "1" + "}" * 3000, "nested|format|JSON"),
        ("\ud800".encode("utf-8", "surrogatepass").decode("latin1"), "JSON"),
    ]
    for text, words in cases:
        (folder / "config.json").write_text(text, encoding="utf-8")
        refused(lambda: load_pretrained(folder), words)
    (folder / "config.json").write_bytes(b"\xff\xfe{}")
    refused(lambda: load_pretrained(folder), "not text")


@pytest.mark.parametrize(
    ("backbone", "arguments"),
    [
        ("convnext_atto", {"depths": [256] * 60}),  # an hour of layers
        ("vit_tiny_patch16_224", {"depth": 256, "embed_dim": 8192, "num_heads": 8}),  # a terabyte of weights
        ("test_resnet", {"channels": [8192] * 4, "layers": [256] * 4}),
    ],
)
def test_giants_are_refused_before_they_are_built(
    folder: Path, backbone: str, arguments: dict[str, object]
) -> None:
    text = config_with(folder, backbone=backbone, backbone_args=arguments)
    (folder / "config.json").write_text(text)
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors", metadata={"mtrl": text})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"larger than the tensors|not this model's file"):
        load_pretrained(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def test_a_network_may_not_be_larger_than_its_file() -> None:
    shapes = {"a": (10, 10)}
    with AllocationLimit(shapes, count_bytes=True):
        torch.ones(1000, 1000)  # spare room for small tables
        with pytest.raises(ValueError, match="larger than"):
            torch.empty(1 << 40)  # refused before it would take four terabytes
    with pytest.raises(ValueError, match="larger than"), AllocationLimit(shapes, count_bytes=False):
        for _ in range(2000):
            torch.zeros(1)


def test_links_out_of_the_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        path = folder / name
        path.rename(tmp_path / name)
        path.symlink_to(tmp_path / name)
        refused(lambda: load_pretrained(folder), "symbolic link that leads out")
        path.unlink()
        path.symlink_to("real")  # within the folder
        (tmp_path / name).rename(folder / "real")
        load_pretrained(folder)
        path.unlink()
        (folder / "real").rename(path)
    path.rename(tmp_path / "kept")
    path.symlink_to(path)  # a circle
    with pytest.raises(FileNotFoundError, match="lacks"):
        load_pretrained(folder)
    path.unlink()
    os.mkfifo(path)  # which would wait for ever
    with pytest.raises(FileNotFoundError, match="lacks"):
        load_pretrained(folder)


def test_the_hubs_cache_of_links_is_read(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "models--user--repo" / "snapshots" / "abc"
    blobs = copy.parents[1] / "blobs"
    copy.mkdir(parents=True)
    blobs.mkdir()
    for number, name in enumerate(("config.json", "model.safetensors")):
        (blobs / str(number)).write_bytes((folder / name).read_bytes())
        (copy / name).symlink_to(f"../../blobs/{number}")
    load_pretrained(copy)
    (copy / "config.json").unlink()
    (copy / "config.json").symlink_to(folder / "config.json")
    refused(lambda: load_pretrained(copy), "symbolic link that leads out")


def test_translators_are_read_as_strictly(tmp_path: Path) -> None:
    folder = tmp_path / "translator"
    save_translator(Learned(LearnedConfig(width=4, deep=8, blocks=1)), folder)
    path = folder / "model.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    save_file({**tensors, "head.bias": tensors["head.bias"].double()}, path, metadata=metadata)
    refused(lambda: read_translator(folder), "head.bias")
    path.rename(tmp_path / "kept")
    path.symlink_to(tmp_path / "kept")
    refused(lambda: read_translator(folder), "symbolic link")


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    features = torch.nn.functional.normalize(torch.rand(3, 8))
    Gallery(features, ("a", "b", "c")).save(tmp_path / "gallery")
    return tmp_path / "gallery"


def test_galleries_that_lie(gallery: Path, tmp_path: Path) -> None:
    table = gallery / "gallery.json"
    good = json.loads(table.read_text())
    for changes, words in (
        ({"sha256": "../../../../etc/passwd"}, "no checksum"),
        ({"sha256": "/" * 64}, "no checksum"),
        ({"names": ["a", "b"]}, "features of 2 images"),
        ({"times": [float("nan")] * 3}, "no number"),
        ({"identities": [1, 2]}, "identities"),
    ):
        table.write_text(json.dumps({**good, **changes}))
        refused(lambda: Gallery.load(gallery), words)
    table.write_text(json.dumps(good)[:-1] + ', "names": []}')
    refused(lambda: Gallery.load(gallery), "stands there twice")
    table.write_text("[" * 200_000)
    refused(lambda: Gallery.load(gallery), "nested too deeply|JSON|damaged")
    with table.open("wb") as file:
        file.truncate(10_000_000_000)  # takes no room on the disk
    refused(lambda: Gallery.load(gallery), "larger than 4")
    table.unlink()
    (tmp_path / "elsewhere.json").write_text(json.dumps(good))
    table.symlink_to(tmp_path / "elsewhere.json")
    refused(lambda: Gallery.load(gallery), "symbolic link")


def test_features_of_another_form_are_refused(gallery: Path) -> None:
    path = next(gallery.glob("features-*.safetensors"))
    for tensors in (
        {"features": torch.rand(3)},
        {"features": torch.rand(3, 8).double()},
        {"other": torch.rand(3, 8)},
    ):
        save_file(tensors, path)
        refused(lambda: Gallery.load(gallery), "features of 3 images")


def test_settings_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for text, words in (
        (laughs, "aliases"),
        ("a: " + "[" * 1500, "YAML"),
        ("a: !!python/object/apply:os.system [echo]", "YAML"),
        ("x" * 2_000_000, "larger than"),
        ("- a\n- b\n", "mapping"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=words) as caught:
            read_yaml(path)
        assert len(str(caught.value)) < 2000
