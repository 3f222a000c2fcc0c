"""The service: answers as the library gives them, what is refused, tokens, quotas, metrics, logs, batches."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from mtrl import MTRL
from mtrl.commands.service import incoming
from mtrl.commands.service.access import Access, Refused, read_tokens
from mtrl.commands.service.batching import Batcher, Overloaded
from mtrl.models.config import Modality
from tests.helpers.pictures import picture
from tests.helpers.service import Service, files

TOKEN = "a-token-of-enough-length"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def test_answers_are_the_librarys(service: Service, model: MTRL) -> None:
    assert service.client.get("/healthz").json() == {"status": "ok"}
    about = service.client.get("/v1/model").json()
    assert about["model"] == model.fingerprint() and about["image_size"] == [64, 32] and about["entries"] == 6
    wanted = model.encode([picture(0), picture(7)], "infrared")
    form = service.client.post("/v1/encode", files=files(0, 7), data={"modality": "infrared"})
    encoded = [base64.b64encode(picture(number)).decode() for number in (0, 7)]
    sent = {"images": [encoded[0], {"name": "x", "data": encoded[1]}], "modality": "infrared"}
    for answer in (form, service.client.post("/v1/encode", json=sent)):
        assert answer.status_code == 200 and torch.allclose(
            torch.tensor(answer.json()["features"]), wanted, atol=1e-5
        )
        assert answer.json()["modalities"] == ["infrared", "infrared"]
    auto = service.client.post("/v1/encode", files=files(0), data={"modality": "auto"}).json()
    assert auto["modalities"] == ["infrared"]


def test_search_add_delete(service: Service) -> None:
    def search(number: int, **options: object) -> list[dict[str, Any]]:
        data = {"modality": "infrared", **options}
        answer = service.client.post("/v1/search", files=files(number), data=data)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["results"][0])

    first = search(3, k=2)
    assert len(first) == 2 and first[0]["name"] == "3.png" and first[0]["score"] == pytest.approx(1, abs=1e-4)
    assert {match["identity"] for match in search(3, identities="c")} == {"c"}
    assert {match["camera"] for match in search(3, cameras=2)} == {2}
    added = service.client.post("/v1/add", files=files(9), data={"identity": "z", "camera": 3})
    assert added.json() == {"added": 1, "entries": 7}
    assert search(9)[0]["identity"] == "z"
    assert (
        service.client.post("/v1/add", files=files(9), data={"identity": "y", "camera": 3}).json()["entries"]
        == 7
    )
    assert search(9)[0]["identity"] == "y"
    gone = service.client.post("/v1/delete", json={"identities": ["y", "a"]})
    assert gone.json() == {"deleted": 3, "entries": 4}
    assert "mtrl_entries 4.0" in service.client.get("/metrics").text
    pooled = service.client.post(
        "/v1/search", files=files(2, 3), data={"modality": "infrared", "pool": "true"}
    )
    assert len(pooled.json()["results"]) == 1 and {m["name"] for m in pooled.json()["results"][0][:2]} == {
        "2.png",
        "3.png",
    }


@pytest.mark.parametrize(
    ("address", "request_", "status", "words"),
    [
        ("/v1/encode", {"files": [("images", ("x.png", b"no image"))]}, 400, "image 0 is not an image"),
        ("/v1/encode", {"files": [("other", ("x.png", b"x"))]}, 400, "the field images"),
        ("/v1/encode", {"data": {"modality": "visible"}, "files": []}, 415, "multipart"),
        ("/v1/encode", {"json": {"modality": "visible"}}, 400, "at least one image"),
        ("/v1/encode", {"json": {"images": ["%%%"]}}, 400, "no base64"),
        ("/v1/encode", {"json": {"images": [7]}}, 400, "base64 text"),
        ("/v1/encode", {"json": [1]}, 400, "is an object"),
        ("/v1/encode", {"json": {"images": [], "who": 1}}, 400, "unknown field 'who'"),
        ("/v1/encode", {"json": {"images": [""] * 65}}, 413, "at most 64"),
        ("/v1/encode", {"files": files(0), "data": {"modality": "x-ray"}}, 400, "modality must be"),
        ("/v1/search", {"files": files(0), "data": {"k": "0"}}, 400, "k is 1 to"),
        ("/v1/search", {"files": files(0), "data": {"k": "many"}}, 400, "whole number"),
        ("/v1/search", {"files": files(0), "data": {"only": "faces"}}, 400, "only is"),
        ("/v1/search", {"files": files(0), "data": {"after": "noon"}}, 400, "ISO 8601"),
        ("/v1/add", {"files": files(0)}, 400, "identities"),
        ("/v1/add", {"json": {"images": [base64.b64encode(picture(0)).decode()]}}, 400, "needs a name"),
        ("/v1/delete", {"json": {}}, 400, "say which entries"),
        ("/v1/none", {"json": {}}, 404, "Not Found"),
    ],
)
def test_wrong_input_is_told_in_words(
    address: str, request_: dict[str, Any], status: int, words: str, service: Service
) -> None:
    answer = service.client.post(address, **request_)
    assert answer.status_code == status and words in answer.json()["detail"], answer.text
    assert len(service.engine.store) == 6


def test_sizes_are_limited(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MOST_BYTES", 3000)
    answer = service.client.post("/v1/encode", files=files(0, 1))
    assert answer.status_code == 413 and "a request may have" in answer.json()["detail"]
    monkeypatch.setattr(incoming, "MOST_BYTES", 1 << 20)
    monkeypatch.setattr(incoming, "IMAGE_BYTES", 100)
    assert "an image may have" in service.client.post("/v1/encode", files=files(0)).json()["detail"]


def test_tokens(model: MTRL, index: Path, tmp_path: Path) -> None:
    with Service(model, index, tokens=(TOKEN, "another-token-of-length"), per_minute=3) as service:
        check_tokens(service)
    (tmp_path / "tokens").write_text(f"# mine\n\n{TOKEN}\n")
    assert read_tokens(tmp_path / "tokens") == (TOKEN,)
    for text, words in (("# none\n", "holds no token"), ("short\n", "less than 16")):
        (tmp_path / "tokens").write_text(text)
        with pytest.raises(ValueError, match=words):
            read_tokens(tmp_path / "tokens")


def check_tokens(service: Service) -> None:
    for address in ("/v1/model", "/metrics", "/openapi.json"):
        assert service.client.get(address).status_code == 401
        assert service.client.get(address, headers=BEARER).status_code == 200
    assert service.client.get("/healthz").status_code == 200
    for wrong in ("", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"):
        answer = service.client.post("/v1/encode", files=files(0), headers={"Authorization": wrong})
        assert answer.status_code == 401
    assert service.client.post("/v1/delete", json={"identities": ["a"]}).status_code == 401
    assert service.client.post("/v1/encode", files=files(0, 1), headers=BEARER).status_code == 200
    answer = service.client.post("/v1/encode", files=files(0, 1), headers=BEARER)
    assert answer.status_code == 429 and "3 images a minute" in answer.json()["detail"]
    other = {"Authorization": "Bearer another-token-of-length"}
    assert service.client.post("/v1/encode", files=files(0), headers=other).status_code == 200
    answer = service.client.post("/v1/encode", files=files(0, 1, 2, 3), headers=other)  # never: not "later"
    assert answer.status_code == 413 and "no more than that at once" in answer.json()["detail"]


def test_a_quota_fills_up_again() -> None:
    now = [0.0]
    access = Access((TOKEN,), 60, lambda: now[0])
    access.spend(0, 60)
    with pytest.raises(Refused, match="60 images a minute"):
        access.spend(0, 1)
    access.spend(1, 60)
    now[0] = 10
    access.spend(0, 10)
    with pytest.raises(Refused):
        access.spend(0, 1)


def test_without_tokens_no_web_page_may_ask(service: Service) -> None:
    answer = service.client.post(
        "/v1/delete", json={"identities": ["a"]}, headers={"Origin": "https://example.org"}
    )
    assert answer.status_code == 403 and len(service.engine.store) == 6
    for name in ("example.org", "testserver"):
        assert service.client.get("/healthz", headers={"Host": name}).status_code == 400


def test_metrics_and_logs_hold_no_personal_data(service: Service) -> None:
    service.client.post(
        "/v1/search", files=[("images", ("anna.png", picture(0)))], data={"identities": "anna"}
    )
    service.client.get("/v1/people/anna?name=anna")
    text = service.client.get("/metrics").text
    assert 'mtrl_requests_total{route="/v1/search",status="200"} 1.0' in text
    assert 'mtrl_requests_total{route="other",status="404"} 1.0' in text
    lines = [json.loads(line) for line in service.log.getvalue().splitlines()]
    assert [line["route"] for line in lines[:2]] == ["/v1/search", "other"]
    assert (
        lines[0].keys() == {"time", "method", "route", "status", "ms", "bytes"} and lines[0]["bytes"] > 1000
    )
    assert "anna" not in service.log.getvalue() + text


def test_the_addresses_are_described(service: Service) -> None:
    about = service.client.get("/openapi.json").json()
    assert set(about["paths"]) == {
        "/healthz", "/metrics", "/v1/model", "/v1/encode", "/v1/search", "/v1/add", "/v1/delete",
    }  # fmt: skip
    schema = about["paths"]["/v1/search"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"images", "k", "pool", "spectrum"} <= set(schema["properties"]) and schema["required"] == [
        "images"
    ]


def test_requests_that_wait_share_a_batch() -> None:
    sizes: list[int] = []
    free = threading.Event()

    def encode(images: torch.Tensor, modality: Modality) -> torch.Tensor:
        free.wait(10)
        if bool((images == 99).any()):
            raise ValueError("a bad batch")
        return images.flatten(1)[:, :1] + 1000 * int(modality)

    async def run() -> None:
        batcher = Batcher(encode, most=8, waiting=40, noted=sizes.append)

        def ask(value: float, count: int = 1, modality: int = 0) -> asyncio.Task[torch.Tensor]:
            return asyncio.create_task(
                batcher.encode(torch.full((count, 3, 2, 2), value), Modality(modality))
            )

        tasks = [ask(0.0)]
        await asyncio.sleep(0.05)  # the first batch is under way, alone
        tasks += [ask(float(n), 1 + n % 2, n % 2) for n in range(1, 9)]
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded, match="waiting already"):
            await batcher.encode(torch.zeros(30, 3, 2, 2), Modality.VISIBLE)
        gone = ask(5.0)
        await asyncio.sleep(0)
        gone.cancel()
        free.set()
        for value, task in enumerate(tasks):
            features = await task
            modality = value % 2 if value else 0
            assert features.tolist() == [[value + 1000 * modality]] * (1 + value % 2 if value else 1)
        assert sizes == [1, 8, 4]
        with pytest.raises(ValueError, match="a bad batch"):
            await ask(99.0)
        assert (await ask(3.0)).tolist() == [[3.0]]  # the next batch is served all the same
        assert (await ask(4.0, 20)).tolist() == [[4.0]] * 20 and sizes[-3:] == [8, 8, 4]
        await batcher.stop()

    asyncio.run(run())
