"""Gradio's blocks with two things that a page for strangers needs: who asks, and wrong inputs refused in words."""

from __future__ import annotations

import re
from typing import Any

import gradio as gr
from pydantic import ValidationError

from mtrl.demo.server.request_origin import CURRENT, RequestOrigin, visitor_at

_LONGEST = 300
_TEXTS = (gr.Textbox, gr.Dropdown, gr.Radio)
_TYPE = re.compile(r" \(type: <class '[\w.]+'>\)")  # in the words of Gradio


class GuardedBlocks(gr.Blocks):
    """Blocks whose events know their visit (`CURRENT`), and answer inputs that cannot be read with a sentence.

    Gradio answers those with no words, and writes what was sent into the log.
    """

    async def process_api(self, block_fn: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
        request = options.get("request")
        client = getattr(request, "client", None)
        session = getattr(request, "session_hash", None)
        token = CURRENT.set(RequestOrigin(visitor_at(client.host if client else None), session))
        try:
            return await super().process_api(block_fn, inputs, *rest, **options)
        finally:
            CURRENT.reset(token)

    async def preprocess_data(self, block_fn: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
        for block, value in zip(block_fn.inputs, inputs, strict=False):
            # Gradio hands on whatever stands where a text is expected.
            if isinstance(block, _TEXTS) and not (value is None or isinstance(value, str)):
                raise gr.Error(f"{block.label} must be a text, not {value!r:.60}", print_exception=False)
        try:
            return await super().preprocess_data(block_fn, inputs, *rest, **options)
        except Exception as problem:  # of any kind: the inputs are whatever somebody has sent
            raise gr.Error(_in_words(block_fn, inputs, problem), print_exception=False) from None


def _in_words(block_fn: Any, inputs: list[Any], problem: Exception) -> str:
    names = block_fn.input_parameter_names or [None] * len(block_fn.inputs)
    wanted = ", ".join(
        name or str(getattr(block, "label", "")) for name, block in zip(names, block_fn.inputs, strict=False)
    )
    if len(inputs) < len(block_fn.inputs):
        return f"{len(inputs)} inputs came, and these are needed: {wanted}."
    cause = problem.__cause__ or problem
    said = "its type is wrong"  # of errors of other kinds, whose words are Python's
    if isinstance(cause, gr.Error):
        said = _TYPE.sub("", str(cause.message))
    elif isinstance(cause, ValueError) and not isinstance(cause, ValidationError):
        said = str(cause).strip().partition("\n")[0]
    return f"One of the inputs ({wanted}) cannot be used: {said[:_LONGEST]}"
