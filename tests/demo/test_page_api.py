"""The page's endpoints as programs meet them: their samples, defaults, limits and words. Real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mtrl.demo.service.service import MAX_RESULTS, DemoService
from tests.helpers.page_server import Server, arrived, join, running, sample_image
from tests.load.stress_clients import file_data

pytest.importorskip("gradio")


@pytest.fixture(scope="module")
def server(service: DemoService) -> Iterator[Server]:
    with running(service) as server:
        yield server


def named(server: Server, name: str, arguments: dict[str, Any]) -> tuple[int, str]:
    """A call with its parameters by name."""
    status, answer, _ = server.ask("POST", f"/gradio_api/call/v2/{name}", json.dumps(arguments).encode())
    if status != 200:
        return status, answer.decode()
    return status, server.ask("GET", f"/gradio_api/call/v2/{name}/{json.loads(answer)['event_id']}")[
        1
    ].decode()


def outputs(said: str) -> list[Any]:
    assert "event: complete" in said, said
    return list(json.loads(said.split("data: ", 1)[1]))


def test_the_samples_that_the_page_offers_work_as_they_stand(server: Server) -> None:
    endpoints = json.loads(server.ask("GET", "/gradio_api/info")[1])["named_endpoints"]
    assert set(endpoints) == {"/retrieve", "/translate", "/encode"}
    for name, endpoint in endpoints.items():
        sample = {p["parameter_name"]: p["example_input"] for p in endpoint["parameters"]}
        assert "ublicly" not in json.dumps(endpoint["parameters"]) and "data:image" in json.dumps(
            endpoint["parameters"][0]["type"]
        )
        assert "http" not in json.dumps(sample) and len(json.dumps(sample)) < 600
        outputs(named(server, name.strip("/"), sample)[1])
        outputs(server.call(name.strip("/"), list(sample.values()))[1])


def test_as_many_results_as_documented_and_no_more(server: Server, service: DemoService) -> None:
    image = file_data(server.send("x.png", sample_image()))
    for k in (1, 12, 31, MAX_RESULTS):
        _, data = outputs(named(server, "retrieve", {"image": image, "k": k})[1])
        assert len(data["matches"]) == min(k, data["searched"])
    for k in (0, -3, MAX_RESULTS + 1, 1e9):
        said = named(server, "retrieve", {"image": image, "k": k})[1]
        assert "event: error" in said and "m value" in said, said


def test_a_call_needs_its_own_image(server: Server) -> None:
    for name in ("retrieve", "translate", "encode"):
        status, said = named(server, name, {})
        assert status == 400 and "image" in said
        for data in ([], [None]):
            status, said = server.call(name, data)
            assert status == 200 and "event: error" in said and "image" in said, said
    said = server.call("retrieve", [None, "auto", 3, None])[1]
    assert "event: error" in said and "no picture was given" in said


WRONG = [5, "text", True, [], {}, [[1]], {"a": 1}, {"path": None}, {"url": 5}, {"url": "x"}, 1e308]


def test_wrong_types_are_refused_in_words_and_nothing_is_logged(
    server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    image = file_data(server.send("x.png", sample_image()))
    good = {"image": image, "direction": "auto", "k": 3, "gallery": None}
    calls = [
        ("retrieve", {**good, name: value}) for name in good for value in WRONG if (name, value) != ("k", 5)
    ]
    calls += [("translate", {"image": image, "translator": value}) for value in WRONG]
    calls += [("encode", {"image": value, "modality": "auto"}) for value in WRONG]
    capfd.readouterr()
    for name, arguments in calls:
        status, said = server.call(name, list(arguments.values()))
        if status == 200 and "event: error" in said:
            problem = json.loads(said.split("data: ", 1)[1])["error"]
            assert problem and "Traceback" not in problem and "<class" not in problem, (arguments, said)
        else:
            assert 400 <= status < 500 or arguments.get("k") is True, (arguments, said)
    event = arrived(server)
    for values in ([], [5] * len(event["data"]), [{"path": None}, *[[]] * (len(event["data"]) - 1)]):
        assert join(server, {**event, "data": values}, "wrong-types")["success"] is False
    logged = "".join(capfd.readouterr())
    assert "Traceback" not in logged, logged[-3000:]


def test_an_answer_says_which_model_gave_it_and_how_good_it_was(server: Server, service: DemoService) -> None:
    image = service.images[0]
    known = file_data(server.send("x.png", image.path.read_bytes()))
    _, data = outputs(named(server, "retrieve", {"image": known, "k": 30})[1])
    right = [match["rank"] for match in data["matches"] if match["correct"]]
    assert data["model"] == service.model.fingerprint()
    assert data["first_right"] == right[0]
    assert data["average_precision"] == pytest.approx(
        sum((n + 1) / rank for n, rank in enumerate(right)) / len(right)
    )
    strange = file_data(server.send("y.png", sample_image()))
    _, data = outputs(named(server, "retrieve", {"image": strange})[1])
    assert data["first_right"] is None and data["average_precision"] is None and len(data["matches"]) == 10
