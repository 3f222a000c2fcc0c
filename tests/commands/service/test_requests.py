"""Requests: each route's own fields, lists in forms, whose fault an error is, memory; how `serve` starts and ends."""

from __future__ import annotations

import base64
import errno
import json
import os
import signal
import socket
import weakref
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from mtrl import MTRL, Gallery
from mtrl.commands import serve
from mtrl.commands.service import engine as engines
from mtrl.commands.service.openapi import _SCHEMAS, FIELDS
from mtrl.retrieval.stores.factory import create_store, open_store
from tests.helpers.commands import command
from tests.helpers.pictures import picture
from tests.helpers.service import Service, files


def names(answer: Any) -> set[str]:
    assert answer.status_code == 200, answer.text
    return {match["name"] for match in answer.json()["results"][0]}


@pytest.mark.parametrize("route", sorted(FIELDS))
def test_fields_of_other_routes_are_refused(route: str, service: Service) -> None:
    schema = service.client.get("/openapi.json").json()["paths"][route]["post"]["requestBody"]["content"]
    for form in schema.values():
        assert set(form["schema"]["properties"]) == set(FIELDS[route])
    images = files(0) if "images" in FIELDS[route] else []
    for field in sorted({*_SCHEMAS, "image", "camara"} - set(FIELDS[route])):
        sent = {"cameras": [1], field: "7"} if route == "/v1/delete" else {field: "7"}
        as_form = [(name, (None, str(value))) for name, value in sent.items()]
        for body in ({"json": sent}, {"files": images + as_form}):
            answer = service.client.post(route, **body)
            assert answer.status_code == 400, answer.text
            assert f"unknown field '{field}'" in answer.json()["detail"], answer.text
    assert service.client.get("/v1/model").json()["entries"] == 6


def test_delete_takes_no_images(service: Service) -> None:
    answer = service.client.post("/v1/delete", data={"cameras": "1"}, files=files(0))
    assert answer.status_code == 400 and "'images'" in answer.json()["detail"]
    assert len(service.engine.store) == 6


def test_a_field_given_several_times_is_a_list(service: Service) -> None:
    data = {"modality": "infrared", "identities": ["a", "c"]}
    found = names(service.client.post("/v1/search", files=files(3), data=data))
    assert found == {"0.png", "1.png", "4.png", "5.png"}
    data = {"modality": "infrared", "identities": ["a", *map(str, range(3000))]}
    assert names(service.client.post("/v1/search", files=files(3), data=data)) == {"0.png", "1.png"}
    twice = service.client.post("/v1/search", files=files(3), data={"k": ["1", "2"]})
    assert twice.status_code == 400 and "'k' is given twice" in twice.json()["detail"]
    for nothing in ({"identities": ""}, {"identities": []}, {"identities": [""]}, {"after": ""}):
        answer = service.client.post("/v1/delete", json={"cameras": [1]} | nothing)
        assert answer.status_code == 400 and f"{next(iter(nothing))} is empty" in answer.json()["detail"]
    assert len(service.engine.store) == 6


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/srv/people/gallery.json"),
        OSError("the Milvus database at http://people:19530 does not answer (name == 'anna')"),
    ],
)
def test_an_index_that_fails_is_no_fault_of_the_sender(
    error: OSError, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    for change in ("find", "upsert", "delete"):
        monkeypatch.setattr(service.engine.store, change, fail)
    sent = {"identity": "a", "camera": "1"}
    for answer in (
        service.client.post("/v1/search", files=files(0)),
        service.client.post("/v1/add", files=files(9), data=sent),
        service.client.post("/v1/delete", json={"identities": ["anna"]}),
    ):
        assert answer.status_code == 503 and "cannot be used now" in answer.json()["detail"]
        assert "people" not in answer.text and "anna" not in answer.text
    image = {"files": [("images", ("x.png", picture(0)[:-400]))]}
    assert service.client.post("/v1/search", **image).status_code == 400


def test_a_full_disk_is_no_fault_of_the_index(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/people")

    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", full)
    answer = service.client.post("/v1/search", files=files(0))
    assert answer.status_code == 503 and answer.headers["retry-after"] == "30"
    assert answer.json()["detail"] == "the service has no room for the request now"


def test_an_image_is_not_named_as_its_track(model: MTRL, tmp_path: Path) -> None:
    tracked = Gallery.build(model, [picture(0)], "infrared", names=["0.png"]).replaced(tracks=("t",))
    create_store("exact", str(tmp_path / "index"), tracked).close()
    with Service(model, tmp_path / "index") as service:
        answer = service.client.post("/v1/add", files=files(7), data={"track": "7.png"})
        assert answer.status_code == 400 and "'7.png'" in answer.json()["detail"], answer.text
        assert service.client.post("/v1/add", files=files(7), data={"track": "7"}).status_code == 200


def test_one_image_is_held_in_full_size(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[weakref.ref[Any]] = []
    most, read = [0], engines.read_image

    def noted(*args: Any) -> Any:
        image = read(*args)
        held.append(weakref.ref(image))
        most[0] = max(most[0], sum(ref() is not None for ref in held))
        return image

    monkeypatch.setattr(engines, "read_image", noted)
    assert service.client.post("/v1/encode", files=files(*range(8))).status_code == 200
    assert len(held) == 8 and most[0] <= 2  # the one before goes when the next is there


def test_deleted_says_what_this_request_deleted(model: MTRL, index: Path, service: Service) -> None:
    other = open_store(str(index))
    wanted = other.gallery.select([0, 1]).replaced(names=("x", "y"), identities=("x", "y"))  # type: ignore[attr-defined]
    other.upsert(wanted)  # by another process, while the service is running
    answer = service.client.post("/v1/delete", json={"identities": ["a"]})
    assert answer.json() == {"deleted": 2, "entries": 6}


def test_a_taken_port_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            command("serve", "--index", tmp_path / "missing", "--port", taken.getsockname()[1])


def test_a_port_that_was_taken_meanwhile_is_told(
    index: Path, model: MTRL, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()

        def load(*_: object, **__: object) -> MTRL:
            taken.bind(("127.0.0.1", port))
            taken.listen()
            return model

        monkeypatch.setattr(serve, "load_pretrained", load)
        with pytest.raises(OSError, match="in use"):
            command("serve", "--index", index, "--port", port)


@pytest.mark.parametrize("way", ["fails", "told to end"])
def test_the_store_is_closed_when_the_start_ends(
    way: str, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []

    def load(*_: object, **__: object) -> MTRL:
        if way == "told to end":
            os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError("no checkpoint")

    store = open_store(str(index))
    monkeypatch.setattr(store, "close", lambda: closed.append(True))
    monkeypatch.setattr(serve, "open_store", lambda *_: store)
    monkeypatch.setattr(serve, "load_pretrained", load)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit if way == "told to end" else ValueError) as ended:
        command("serve", "--index", index, "--port", 0)
    assert closed == [True] and signal.getsignal(signal.SIGTERM) is before
    assert way == "fails" or ended.value.code == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "sent",
    [
        {"images": [{"name": "\ud800.jpg", "data": None}]},
        {"images": [{"name": "a.jpg", "data": None}], "identity": "\ud800"},
        {"images": [{"name": "a.jpg", "data": None}], "track": "\udfff"},
    ],
)
def test_text_that_no_answer_could_hold_is_refused(sent: dict[str, Any], service: Service) -> None:
    content = base64.b64encode(files(0)[0][1][1]).decode()
    for image in sent["images"]:
        image["data"] = content
    answer = service.client.post(
        "/v1/add", content=json.dumps(sent), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400 and "no valid Unicode text" in answer.json()["detail"], answer.text
    assert service.client.get("/v1/model").json()["entries"] == 6
