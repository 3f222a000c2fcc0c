"""The page as a server of the Model Context Protocol, where its package is installed."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest

from mtrl.demo.service.service import DemoService
from tests.helpers.page import noise_page

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> DemoService:
    return noise_page(tmp_path_factory.mktemp("people"))


async def _ask(url: str, name: str, arguments: dict[str, Any]) -> tuple[dict[str, str], Any]:
    """Descriptions of the tools by name, and the answer of one of them."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async with (
        streamablehttp_client(f"{url}gradio_api/mcp/") as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        tools = (await session.list_tools()).tools
        described = {tool.name: str(tool.description) for tool in tools}
        named = next(tool for tool in described if tool.endswith(name))
        return described, await session.call_tool(named, arguments)


def test_tools_are_described_and_answer(service: DemoService) -> None:
    pytest.importorskip("gradio")
    pytest.importorskip("mcp")
    from mtrl.demo.page import build_page, launch

    page = build_page(service)
    _, url, _ = launch(page, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    try:
        loaded = service.images[0]
        buffer = io.BytesIO()
        service.open(loaded).save(buffer, "PNG")
        image = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
        tools, answer = asyncio.run(_ask(url, "encode", {"image": image, "modality": "visible"}))
    finally:
        page.close()
    assert sorted(name.rsplit("_", 1)[-1] for name in tools) == ["encode", "retrieve", "translate"]
    assert any("similarity" in text for text in tools.values())
    vector = json.loads(answer.content[0].text)
    assert vector == pytest.approx(service.encode(Path(loaded.path), "visible"), abs=1e-5)
