"""The page's tools for programs that speak the Model Context Protocol (MCP)."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastapi
import gradio as gr
from gradio.data_classes import PredictBodyInternal
from gradio.server_messages import ProcessCompletedMessage

from mtrl.demo.server.active_sessions import ActiveSessions
from mtrl.demo.server.uploads import UPLOADS

_CALL = "/gradio_api/queue/join"
_GRADIOS = "Gradio File Input - a http or https url to a file"
_OURS = "an image as a data: address, data:image/jpeg;base64,..."


def answer_agents(page: gr.Blocks, sessions: ActiveSessions) -> None:
    """Has the tools of a started page answered by its own queue, with the same inputs, limits and words as any call.

    Gradio itself sends every call once more over HTTP, as one visitor for all, asks for addresses of files, which
    this page does not fetch, and answers with Python's text of an object.
    """
    mcp: Any = page.mcp_server_obj
    types, simplified = mcp.types, mcp.simplify_filedata_schema

    def schema(of: Any) -> Any:
        found, places = simplified(of)
        return json.loads(json.dumps(found).replace(_GRADIOS, _OURS)), places

    mcp.simplify_filedata_schema = schema

    @mcp.mcp_server.call_tool()  # type: ignore[untyped-decorator]
    async def call(name: str, arguments: dict[str, Any]) -> list[Any]:
        endpoint = mcp.tool_to_endpoint.get(name)
        if endpoint is None:
            raise ValueError(f"there is no tool {name}; the tools are {', '.join(mcp.tool_to_endpoint)}")
        function = mcp.get_block_fn_from_endpoint_name(endpoint)
        parameters = mcp.api_info["named_endpoints"][endpoint]["parameters"]
        data = _values(parameters, function.inputs, arguments)
        request = mcp.mcp_server.request_context.request
        call_id, output = await _answer(page, sessions, function, data, request)
        try:
            return [_content(types, value) for value in output]
        finally:
            for value in output:
                if isinstance(value, dict) and value.get("path"):
                    UPLOADS.add(call_id, value["path"])
            UPLOADS.close(call_id)


def _values(
    parameters: Sequence[dict[str, Any]], inputs: Sequence[Any], arguments: dict[str, Any]
) -> list[Any]:
    """The arguments in the order of the parameters, images as objects. Raises ValueError."""
    names = [parameter["parameter_name"] for parameter in parameters]
    if unknown := arguments.keys() - set(names):
        raise ValueError(f"there is no parameter {min(unknown)}; the parameters are {', '.join(names)}")
    values = []
    for parameter, block in zip(parameters, inputs, strict=True):
        name = parameter["parameter_name"]
        if name not in arguments and not parameter["parameter_has_default"]:
            raise ValueError(f"the parameter {name} is missing")
        value = arguments.get(name, parameter["parameter_default"])
        if isinstance(block, gr.Image) and isinstance(value, str):
            value = {"url": value}
        values.append(value)
    return values


async def _answer(
    page: gr.Blocks, sessions: ActiveSessions, function: Any, data: list[Any], request: Any
) -> tuple[str, list[Any]]:
    """The call's id and outputs. Raises ValueError with the page's words where it was refused or failed."""
    queue: Any = page._queue
    as_call = fastapi.Request({**request.scope, "path": _CALL, "raw_path": _CALL.encode()})
    body = PredictBodyInternal(data=data, fn_index=function._id, request=as_call)
    taken, said, _ = await queue.push(body, as_call, None)
    if not taken:
        raise ValueError(str(said))
    call_id = str(said)
    try:
        with sessions.listening_to(call_id):
            messages = queue.pending_messages_per_session[call_id]
            while not isinstance(message := await messages.get(), ProcessCompletedMessage):
                pass
    finally:
        await queue.clean_events(event_id=call_id)
        queue.pending_messages_per_session.pop(call_id, None)
        queue.pending_event_ids_session.pop(call_id, None)
    if not message.success:
        raise ValueError(message.output.get("error") or "the page could not answer")
    return call_id, list(message.model_dump()["output"]["data"])


def _content(types: Any, value: Any) -> Any:
    if isinstance(value, dict) and "path" in value:
        content = base64.b64encode(Path(value["path"]).read_bytes()).decode()
        return types.ImageContent(type="image", data=content, mimeType="image/png")
    return types.TextContent(type="text", text=json.dumps(value))
