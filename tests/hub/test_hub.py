"""The Hub round trip: the real client against a stub that speaks the Hub's HTTP."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import traceback
from pathlib import Path

import pytest
import torch
import yaml

from mtrl import MTRL, load_pretrained
from mtrl.__main__ import main as mtrl_main
from mtrl.commands import push
from mtrl.hub.client import upload_folder
from mtrl.models.card import CardFacts, Result, model_card
from mtrl.models.config import ModelConfig
from mtrl.models.load import read_checkpoint
from tests.helpers import trees
from tests.helpers.hub_stub import TOKEN, Hub, Repo

CONFIG = ModelConfig("test_resnet", (64, 32), num_identities=3)


@pytest.fixture(scope="module")
def model() -> MTRL:
    torch.manual_seed(0)
    return MTRL(CONFIG).eval()


def same(a: MTRL, b: MTRL) -> bool:
    weights = b.state_dict()
    return all(torch.equal(v, weights[n]) for n, v in a.state_dict().items() if "classifier" not in n)


def files_of(hub: Hub, repo: str, revision: str = "main") -> dict[str, bytes]:
    known = hub.repos[repo]
    return known.commits[known.branches[revision]]


def test_push_then_load_gives_the_same_bits(hub: Hub, model: MTRL) -> None:
    address = model.push_to_hub("ann/reid", token=TOKEN, card="# A card\n")
    assert address.startswith(f"{hub.url}/ann/reid/commit/")
    assert set(files_of(hub, "ann/reid")) == {"config.json", "model.safetensors", "README.md"}
    loaded = load_pretrained("ann/reid")
    assert same(model, loaded)
    assert loaded.config.num_identities == 0
    images = torch.randint(0, 256, (2, 3, 50, 30), dtype=torch.uint8)
    assert torch.equal(loaded.encode(images), model.encode(images))
    model.push_to_hub("ann/reid", token=TOKEN)  # a repository that exists is used


def test_revisions_are_kept_apart(hub: Hub, model: MTRL) -> None:
    torch.manual_seed(1)
    other = MTRL(CONFIG).eval()
    model.push_to_hub("ann/reid", token=TOKEN)
    address = other.push_to_hub("ann/reid", token=TOKEN, revision="v2")
    assert same(load_pretrained("ann/reid"), model)
    assert same(load_pretrained("ann/reid", revision="v2"), other)
    assert same(load_pretrained("ann/reid", revision=address.rsplit("/", 1)[1]), other)
    with pytest.raises(FileNotFoundError, match="no revision v3"):
        load_pretrained("ann/reid", revision="v3")


def test_private_needs_the_token(hub: Hub, model: MTRL) -> None:
    model.push_to_hub("ann/secret", token=TOKEN, private=True)
    assert hub.repos["ann/secret"].private
    with pytest.raises(FileNotFoundError, match="log in"):
        load_pretrained("ann/secret")
    assert same(load_pretrained("ann/secret", token=TOKEN), model)


def test_what_is_missing_is_named(hub: Hub, model: MTRL) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder ann/none here and no model ann/none on the Hub"):
        load_pretrained("ann/none")
    hub.repos["ann/empty"] = Repo()
    with pytest.raises(FileNotFoundError, match=r"lacks config\.json"):
        load_pretrained("ann/empty")
    hub.repos["ann/gated"] = Repo(gated=True)
    with pytest.raises(OSError, match="gated"):
        load_pretrained("ann/gated")


@pytest.mark.parametrize("cache", ["/proc/nothing/hub", "/sys/kernel/hub", "{tmp_path}/file/hub"])
def test_a_cache_that_cannot_be_written_says_what_to_set(
    cache: str, hub: Hub, model: MTRL, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    model.push_to_hub("ann/reid", token=TOKEN)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", cache.format(tmp_path=tmp_path))
    with pytest.raises(
        OSError, match=r"the Hub's cache .*/hub cannot be written \([A-Z].*\): set HF_HOME"
    ) as caught:
        load_pretrained("ann/reid")
    assert "Errno" not in str(caught.value)


def failing(kind: str, text: str = "", cause: BaseException | None = None) -> BaseException:
    """An error of the client or of its HTTP library, which the project does not import."""
    made: BaseException = type(kind, (Exception,), {})(text)
    made.__cause__ = cause
    return made


def answered(status: int) -> BaseException:
    made = failing("HfHubHTTPError")
    made.response = argparse.Namespace(status_code=status)  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            failing("ConnectError", "x", failing("ProxyError", "503")),
            "check the proxy that HTTPS_PROXY names",
        ),
        (
            ValueError("Unknown scheme for proxy URL URL('x://u:secret@y')"),
            "check the proxy that HTTPS_PROXY names",
        ),
        (failing("ConnectError", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify"), "set SSL_CERT_FILE"),
        (ValueError(f"Invalid header value b'Bearer {TOKEN}\\n'"), "correct HF_TOKEN"),
        (failing("LocalProtocolError", f"Illegal header value b'Bearer {TOKEN}'"), "correct HF_TOKEN"),
        (UnicodeEncodeError("ascii", TOKEN, 0, 1, "no"), "correct HF_TOKEN"),
        (failing("UnsupportedProtocol", "no scheme"), "HF_ENDPOINT is http.*: correct or unset it"),
        (answered(401), "the access token is not accepted|log in with `hf auth login`"),
        (answered(429), "wait some minutes"),
        (
            OSError(28, "No space left on device", "/c"),
            r"cannot be written \(No space left on device\): set HF_HOME",
        ),
    ],
)
def test_causes_that_the_client_wraps_are_named(
    error: BaseException, says: str, hub: Hub, model: MTRL, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def fail(*given: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", fail)
    for ask in (lambda: load_pretrained("ann/reid"), lambda: model.push_to_hub("ann/reid", token=TOKEN)):
        with pytest.raises(OSError, match=says) as caught:
            ask()
        text = str(caught.value)
        assert TOKEN not in text and "secret" not in text and "Errno" not in text and "\n" not in text


def test_a_damaged_download_is_refused(hub: Hub, model: MTRL) -> None:
    model.push_to_hub("ann/reid", token=TOKEN)
    files = files_of(hub, "ann/reid")
    good = files["model.safetensors"]
    weights = bytearray(good)
    weights[-5] ^= 1
    files["model.safetensors"] = bytes(weights)
    with pytest.raises(ValueError, match=r"checksum differs.* delete (.*models--ann--reid), then") as caught:
        load_pretrained("ann/reid")
    files["model.safetensors"] = good
    shutil.rmtree(str(caught.value).split("delete ")[1].split(",")[0])  # doing what the message says
    assert same(load_pretrained("ann/reid"), model)


def test_the_cache_serves_when_the_hub_is_gone(
    hub: Hub, model: MTRL, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    model.push_to_hub("ann/reid", token=TOKEN)
    load_pretrained("ann/reid")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.requests)
    assert same(load_pretrained("ann/reid"), model)
    with pytest.raises(FileNotFoundError, match="not in the Hub's cache"):
        load_pretrained("ann/other")
    assert len(hub.requests) == asked


def test_only_safetensors_and_json_are_asked_for(hub: Hub, model: MTRL) -> None:
    model.push_to_hub("ann/reid", token=TOKEN)
    hub.requests.clear()
    load_pretrained("ann/reid")
    assert {line.rsplit("/", 1)[1] for line in hub.requests} == {"config.json", "model.safetensors"}


def test_a_refused_upload_says_what_to_do_and_keeps_the_token(hub: Hub, model: MTRL) -> None:
    with pytest.raises(OSError, match="log in") as caught:
        model.push_to_hub("ann/reid", token="hf_wrong_token")
    assert "hf_wrong_token" not in str(caught.value)
    with pytest.raises(ValueError, match="user/repo"):
        model.push_to_hub("reid", token=TOKEN)
    assert not hub.repos


def test_a_folder_uploads_its_checkpoint_and_nothing_else(hub: Hub, model: MTRL, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "run", dtype="float16", card="# A card\n")
    (tmp_path / "run" / "settings.yaml").write_text("secret: 1\n")
    (tmp_path / "run" / "last").mkdir()
    (tmp_path / "run" / "last" / "config.json").write_text("{}")
    upload_folder(tmp_path / "run", "ann/reid", token=TOKEN)
    assert set(files_of(hub, "ann/reid")) == {"config.json", "model.safetensors", "README.md"}
    assert same(load_pretrained("ann/reid"), read_checkpoint(tmp_path / "run"))


def test_a_tag_names_a_version_for_good(hub: Hub, model: MTRL) -> None:
    torch.manual_seed(1)
    other = MTRL(CONFIG).eval()
    model.push_to_hub("ann/reid", token=TOKEN, tag="v1")
    other.push_to_hub("ann/reid", token=TOKEN)
    assert same(load_pretrained("ann/reid", revision="v1"), model)
    assert same(load_pretrained("ann/reid"), other)
    torch.manual_seed(2)
    third = MTRL(CONFIG).eval()
    with pytest.raises(OSError, match=r"has a version v1 already.*choose another tag"):
        third.push_to_hub("ann/reid", token=TOKEN, tag="v1")
    assert same(load_pretrained("ann/reid"), other), "nothing is uploaded where the tag is taken"
    hub.no_tags = True
    with pytest.raises(OSError, match=r"ann/reid was uploaded as [0-9a-f]{40}, but .* tag v2: run it again"):
        third.push_to_hub("ann/reid", token=TOKEN, tag="v2")
    assert same(load_pretrained("ann/reid"), third)
    hub.no_tags = False
    third.push_to_hub("ann/reid", token=TOKEN, tag="v2")
    assert same(load_pretrained("ann/reid", revision="v2"), third)


def test_a_broken_upload_changes_nothing_and_is_continued(
    hub: Hub, model: MTRL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    model.push_to_hub("ann/reid", token=TOKEN)
    before = dict(files_of(hub, "ann/reid"))
    torch.manual_seed(1)
    other = MTRL(CONFIG).eval()
    hub.broken = 100
    with pytest.raises(OSError, match="has not changed; check the connection and run it again"):
        other.push_to_hub("ann/reid", token=TOKEN)
    assert files_of(hub, "ann/reid") == before and same(load_pretrained("ann/reid"), model)
    hub.broken = 2  # the client tries again by itself
    other.save_pretrained(tmp_path / "run")
    upload_folder(tmp_path / "run", "ann/reid", token=TOKEN)
    assert same(load_pretrained("ann/reid"), other)
    hub.requests.clear()
    upload_folder(tmp_path / "run", "ann/reid", token=TOKEN, revision="copy")
    assert not [line for line in hub.requests if line.startswith("PUT")]  # the weights are there already


def test_every_upload_has_a_card_that_names_its_own_repository(
    hub: Hub, model: MTRL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    model.push_to_hub("ann/plain")
    result = Result("sysu", "ir2vis", 0.5, 0.4)
    line = "python -m eval --checkpoint user/repo --dataset sysu"
    facts = CardFacts(name="A", results=[result], protocol="SYSU-MM01's rules.", evaluation=line)
    model.save_pretrained(tmp_path / "run", card=model_card(model.config, facts))
    assert mtrl_main(["push", str(tmp_path / "run"), "ann/full", "--private", "--tag", "v1"]) == 0
    assert hub.repos["ann/full"].private and not hub.repos["ann/plain"].private
    for repo in ("ann/plain", "ann/full"):
        card = files_of(hub, repo)["README.md"].decode()
        assert f'load_pretrained("{repo}")' in card and "user/repo" not in card
        for part in ("license:", "**Not for**", "responsible-use.md", "## Licence", "2511.02685", "@misc"):
            assert part in card
    assert "--checkpoint ann/full --dataset sysu" in card and "SYSU-MM01's rules." in card
    (entry,) = yaml.safe_load(card.split("---\n")[1])["model-index"]
    assert {m["type"]: m["value"] for m in entry["results"][0]["metrics"]} == {"rank-1": 50.0, "mAP": 40.0}


def test_training_ends_on_the_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from train.__main__ import main

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("MTRL_CACHE", str(tmp_path / "cache"))
    command = ["--dataset", "folder", "--data-root", str(trees.folder(tmp_path / "photos"))]
    command += ["--no-pretrained", "--backbone", "test_resnet", "--image-size", "32", "16", "--epochs", "1"]
    command += ["--identities", "2", "--instances", "2", "--batches", "1", "--seed", "7"]
    command += ["--output", str(tmp_path / "run"), "--push", "ann/run", "--private"]
    monkeypatch.setattr("sys.argv", ["train", *command])
    assert main(command) == 0
    assert hub.requests[0] == "POST /api/repos/create"  # missing rights would show before the training
    card = files_of(hub, "ann/run")["README.md"].decode()
    assert "python -m train --dataset folder" in card and "Seed: 7" in card and "machine:" in card
    assert "RegDB's rules" in card and "ir2vis" in card and "vis2ir" in card
    loaded = load_pretrained("ann/run", token=TOKEN)
    assert same(loaded, read_checkpoint(tmp_path / "run" / "published"))
    repeated = json.loads(files_of(hub, "ann/run")["config.json"])
    assert repeated["num_identities"] == 0


def test_a_translator_is_uploaded_as_one(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = pytest.importorskip("mtrl.translate.files")
    from mtrl.translate import load_translator
    from mtrl.translate.learned import Learned, LearnedConfig

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    files.save_translator(Learned(LearnedConfig(2, 4, 1)), tmp_path / "run", card="# A translator\n")
    assert mtrl_main(["push", str(tmp_path / "run"), "ann/night"]) == 0
    images = torch.rand(2, 3, 16, 8)
    assert torch.equal(load_translator("ann/night")(images), load_translator(tmp_path / "run")(images))
    with pytest.raises(ValueError):
        load_pretrained("ann/night")  # a translator is no model
    (tmp_path / "run" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match="damaged"):
        mtrl_main(["push", str(tmp_path / "run"), "ann/broken"])
    assert "ann/broken" not in hub.repos


def test_what_cannot_be_pushed_is_told_before_anything_is_sent(
    hub: Hub, model: MTRL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    model.save_pretrained(tmp_path / "run", card="# Logged in with hf_abcdefghijklmnopqrstuvwxyz0123456789\n")
    for arguments, message in (
        (["run", "ann/reid"], "README.md holds a Hub access token"),
        (["none", "ann/reid"], "lacks config.json"),
        (["run", "reid"], "user/repo"),
        (["run"], "FOLDER USER/REPO"),
        ([], "FOLDER USER/REPO"),
        (["run", "ann/reid", "--checkpoint", "x"], "FOLDER USER/REPO"),
        (["run", "--space", "ann/page"], "nothing else"),
    ):
        words = [str(tmp_path / word) if word in ("run", "none") else word for word in arguments]
        with pytest.raises((ValueError, OSError), match=message):
            mtrl_main(["push", *words])
    assert not hub.repos


@pytest.mark.parametrize("broken", [False, True])
def test_a_token_goes_nowhere_but_to_the_hub(
    hub: Hub,
    model: MTRL,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    broken: bool,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_sentinel" if broken else TOKEN)
    model.save_pretrained(tmp_path / "run")
    told = ""
    with caplog.at_level(logging.DEBUG):
        try:
            mtrl_main(["push", str(tmp_path / "run"), "ann/reid", "--private"])
            load_pretrained("ann/reid")
        except OSError as error:
            told = "".join(traceback.format_exception(error))
    assert broken == bool(told) and ("set HF_TOKEN" in told) == broken
    told += caplog.text + "".join(capsys.readouterr())
    told += "".join(path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file())
    told += "".join(b.decode("latin-1") for repo in hub.repos for b in files_of(hub, repo).values())
    assert "hf_sentinel" not in told and TOKEN not in told


def test_the_command_line_takes_no_token() -> None:
    parser = argparse.ArgumentParser()
    push.add_arguments(parser)
    assert (
        "--token" not in parser.format_help()
    )  # it would stand in shell histories, process lists and run folders
