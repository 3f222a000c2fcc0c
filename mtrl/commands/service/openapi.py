"""The fields of each route, and what /openapi.json says of them: a form with files, or JSON with base64."""

from __future__ import annotations

from typing import Any

_TEXT: dict[str, Any] = {"type": "string"}
_LIST: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
_SCHEMAS: dict[str, dict[str, Any]] = {
    "modality": {"type": "string", "enum": ["visible", "infrared", "auto"]},
    "k": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 10},
    "pool": {"type": "boolean", "default": False, "description": "the images show one person: one query"},
    "spectrum": _LIST | {"description": "search entries of these spectra only"},
    "only": {"type": "string", "enum": ["images", "tracks"]},
    "camera": {"type": "integer"},
    "cameras": {"type": "array", "items": {"type": "integer"}},
    "identity": _TEXT,
    "identities": _LIST,
    "names": _LIST,
    "track": _TEXT,
    "time": _TEXT | {"description": "ISO 8601"},
    "after": _TEXT | {"description": "ISO 8601"},
    "before": _TEXT | {"description": "ISO 8601"},
}
FILTERS = ("identities", "cameras", "after", "before", "spectrum", "only")
FIELDS: dict[str, tuple[str, ...]] = {
    "/v1/encode": ("images", "modality"),
    "/v1/search": ("images", "modality", "k", "pool", *FILTERS),
    "/v1/add": ("images", "modality", "identity", "camera", "time", "track"),
    "/v1/delete": ("names", *FILTERS),
}
LISTS = frozenset(name for name, schema in _SCHEMAS.items() if schema["type"] == "array")
_IMAGE = {
    "oneOf": [
        _TEXT | {"format": "byte"},
        {
            "type": "object",
            "properties": {"name": _TEXT, "data": _TEXT | {"format": "byte"}},
            "required": ["data"],
        },
    ]
}


def body(route: str) -> dict[str, Any]:
    """FastAPI's keyword arguments for a route of `FIELDS`."""
    images = "images" in FIELDS[route]
    known = {name: _SCHEMAS[name] for name in FIELDS[route] if name != "images"}
    files = {"images": {"type": "array", "items": _TEXT | {"format": "binary"}}} if images else {}
    encoded = {"images": {"type": "array", "items": _IMAGE}} if images else {}
    required = ["images"] if images else []
    content = {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": files | known, "required": required}
        },
        "application/json": {
            "schema": {"type": "object", "properties": encoded | known, "required": required}
        },
    }
    refusals = {
        code: {"description": text}
        for code, text in {
            400: "wrong input, in words",
            401: "a token is needed",
            413: "too large",
            429: "too much at once, or the quota is used up",
            503: "the index does not answer, or cannot be written",
        }.items()
    }
    return {"openapi_extra": {"requestBody": {"content": content}}, "responses": refusals}
