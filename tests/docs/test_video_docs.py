"""Every marked block of docs/video.md runs, in order, on a pair of real clips; docs/deploy can be read."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.helpers.commands import command
from tests.helpers.paths import ROOT
from tests.helpers.real_clips import REAL, needs_real_clips, write_boxes

PAGE = ROOT / "docs" / "video.md"
BLOCK = re.compile(r"<!-- real: run -->\n```(bash|python)\n(.*?)```", re.DOTALL)
CLIP = "0113_1714"


@needs_real_clips
@pytest.mark.slow
def test_the_page_runs_on_real_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("av", "fastapi", "prometheus_client"):
        pytest.importorskip(package)
    for name, kind in (("day", "visible"), ("night", "infrared")):
        (tmp_path / f"{name}.mp4").symlink_to(REAL / kind / f"{CLIP}.mp4")
        (tmp_path / f"{name}.txt").write_text(write_boxes(tmp_path)[CLIP].read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTRL_CACHE", str(tmp_path / "cache"))
    (first, commands), (second, program), (third, service) = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert (first, second, third) == ("bash", "python", "bash")

    for line in commands.splitlines():
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", "mtrl"] and command(*words[3:]) == 0, line
    listed = capsys.readouterr().out.splitlines()[-4:]
    assert listed[0] == "crops/night/7" and [line.split()[0] for line in listed[1:]] == ["1", "2", "3"]
    assert all(
        re.search(r" day/\d+  track  visible  camera 1  2026-11-20T12:00", line) for line in listed[1:]
    )

    exec(compile(program, "docs/video.md", "exec"), {})
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == ["1", "2", "3"] and all("day/" in line for line in listed)

    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", service], env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-2000:]
    matches = json.loads(done.stdout.removeprefix('{"status":"ok"}'))["results"][0]
    assert len(matches) == 3 and all(m["modality"] == "visible" and m["track"] == m["name"] for m in matches)


def test_the_compose_file_names_what_is_there() -> None:
    text = (ROOT / "docs" / "deploy" / "compose.yaml").read_text()
    content = yaml.safe_load(text)
    services = content["services"]
    steps = re.findall(
        r"^#   (?:docker compose -f docs/deploy/compose.yaml|python -m mtrl) (.*)", text, re.MULTILINE
    )
    assert [step.split()[0] for step in steps] == ["up", "index", "up"]
    started = steps[0].removeprefix("up -d --wait ")  # what index needs, and it does not need the index
    assert (
        "mtrl" not in (started, *services[started]["depends_on"])
        and ":19530" in services[started]["ports"][0]
    )
    assert set(services["mtrl"]["depends_on"]) <= set(services) and set(services["mtrl"]["secrets"]) == set(
        content["secrets"]
    )
    named = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert named == set(content["volumes"])
    assert (
        ROOT
        / "docs"
        / "deploy"
        / services["mtrl"]["build"]["context"]
        / services["mtrl"]["build"]["dockerfile"]
    ).is_file()
    assert all("image" in service or "build" in service for service in services.values())


def test_the_dockerfile_starts_the_service_with_flags_that_it_has() -> None:
    text = (ROOT / "docs" / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [
        line.split(maxsplit=1) for line in text.splitlines() if line.strip() and not line.startswith("#")
    ]
    known = {
        "FROM",
        "RUN",
        "WORKDIR",
        "COPY",
        "USER",
        "ENV",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    }
    assert lines[0][0] == "FROM" and {word for word, _ in lines} <= known
    start = [json.loads(rest) for word, rest in lines if word in ("ENTRYPOINT", "CMD")]
    words = start[0] + start[1]
    assert words[:4] == ["python", "-m", "mtrl", "serve"]
    import argparse

    from mtrl.commands import serve

    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    assert parser.parse_args(words[4:]).index == "/index"
    for _, rest in (line for line in lines if line[0] == "COPY"):
        assert all((ROOT / name).exists() for name in rest.split()[:-1])
    for extra in re.findall(r"\[([a-z,]+)\]", text)[:1]:
        assert all(f"\n{name} = [" in (ROOT / "pyproject.toml").read_text() for name in extra.split(","))
