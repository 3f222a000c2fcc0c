"""The page as a server of the Model Context Protocol, where its package is installed."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mtrl.demo.service.service import DemoService
from tests.helpers.page import noise_page
from tests.helpers.page_server import Server, running, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> DemoService:
    return noise_page(tmp_path_factory.mktemp("people"))


async def _ask(url: str, calls: list[tuple[str, dict[str, Any]]]) -> tuple[dict[str, Any], list[Any]]:
    """The tools by name, and the answers to calls of them, one after the other."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async with (
        streamablehttp_client(f"{url}gradio_api/mcp/") as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        tools = {tool.name.rsplit("_", 1)[-1]: tool for tool in (await session.list_tools()).tools}
        return tools, [await session.call_tool(tools[name].name, arguments) for name, arguments in calls]


@pytest.fixture(scope="module")
def server(service: DemoService) -> Iterator[Server]:
    pytest.importorskip("gradio")
    pytest.importorskip("mcp")
    with running(service) as server:
        yield server


def image_of(service: DemoService) -> str:
    buffer = io.BytesIO()
    service.open(service.images[0]).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def test_tools_are_described_and_answer_in_json(service: DemoService, server: Server) -> None:
    image, before = image_of(service), server.files()
    calls: list[tuple[str, dict[str, Any]]] = [
        ("encode", {"image": image, "modality": "visible"}),
        ("retrieve", {"image": image, "k": 3}),
        ("translate", {"image": image}),
    ]
    tools, (vector, ranked, translated) = asyncio.run(_ask(server.url, calls))
    assert sorted(tools) == ["encode", "retrieve", "translate"]
    assert "similarity" in tools["retrieve"].description
    for tool in tools.values():
        said = json.dumps(tool.inputSchema)
        assert (
            "data:image/jpeg;base64" in said
            and "http" not in said
            and "image" in tool.inputSchema["required"]
        )
    assert json.loads(vector.content[0].text) == pytest.approx(
        service.encode(Path(service.images[0].path), "visible"), abs=1e-5
    )
    data = json.loads(ranked.content[1].text)
    assert [match["rank"] for match in data["matches"]] == [1, 2, 3] and data["matches"][0]["correct"] is True
    assert translated.content[0].type == "image" and translated.content[0].mimeType == "image/png"
    assert base64.b64decode(translated.content[0].data).startswith(b"\x89PNG")
    assert wait_for(lambda: not (server.files() - before)), server.files() - before


def test_wrong_calls_of_tools_are_answered_in_words(
    service: DemoService, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    huge = io.BytesIO()
    Image.new("L", (13000, 13000)).save(huge, "PNG")
    image = image_of(service)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("encode", {"image": "data:image/png;base64,####"}),
        ("encode", {"image": "/etc/passwd"}),
        ("encode", {"image": "data:image/png;base64," + base64.b64encode(huge.getvalue()).decode()}),
        ("retrieve", {"image": image, "k": 99}),
        ("retrieve", {"image": image, "direction": "sideways"}),
        ("retrieve", {"k": 3}),
        ("translate", {"image": image, "colour": "blue"}),
    ]
    capfd.readouterr()
    _, answers = asyncio.run(_ask(server.url, calls))
    words = ["base64", "data:image/jpeg", "64 million", "50", "sideways", "image", "colour"]
    for answer, word, call in zip(answers, words, calls, strict=True):
        assert answer.isError and word in answer.content[0].text, (call, answer)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_agents_have_their_own_turns(
    service: DemoService, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call of an agent is its own, not the page's: it is counted for the address that it comes from."""
    from mtrl.demo.server.request_origin import CURRENT

    seen: list[Any] = []
    encode = service.encode
    monkeypatch.setattr(service, "encode", lambda *given: (seen.append(CURRENT.get()), encode(*given))[1])
    asyncio.run(_ask(server.url, [("encode", {"image": image_of(service)})] * 2))
    assert [origin.visitor for origin in seen] == ["127.0.0.1"] * 2 and seen[0].session != seen[1].session
