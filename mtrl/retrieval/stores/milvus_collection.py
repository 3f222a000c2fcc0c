"""The Milvus collection that holds one gallery: its fields, and the record of its features' model and modality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.stores.milvus_rows import LABELS, MAX_GIVEN, MAX_TEXT
from mtrl.retrieval.stores.uri import shown

RECORD = "mtrl"
FORMAT = "mtrl-milvus-1"
FILES = "milvus.db"  # the folder of an embedded database
BATCH = 1000


def make_collection(client: Any, collection: str, entries: Gallery, embedded: bool) -> None:
    from pymilvus import DataType

    record = {
        "format": FORMAT,
        "model": entries.model,
        "modality": "mixed" if entries.modality is None else entries.modality.name.lower(),
        "dim": entries.features.shape[1],
        "value_range": entries.value_range,
    }
    # Written as description and as properties, since the embedded database keeps only the latter.
    schema = client.create_schema(
        auto_id=False, enable_dynamic_field=False, description=json.dumps({RECORD: record})
    )
    schema.add_field("name", DataType.VARCHAR, is_primary=True, max_length=MAX_TEXT)
    schema.add_field("feature", DataType.FLOAT_VECTOR, dim=entries.features.shape[1])
    schema.add_field("identity", DataType.VARCHAR, max_length=MAX_TEXT, nullable=True)
    schema.add_field("camera", DataType.INT64, nullable=True)
    schema.add_field("time", DataType.DOUBLE, nullable=True)
    schema.add_field("given", DataType.VARCHAR, max_length=MAX_GIVEN)
    if entries.modalities is not None:
        schema.add_field("modality", DataType.VARCHAR, max_length=16)
    if entries.tracks is not None:
        schema.add_field("track", DataType.VARCHAR, max_length=MAX_TEXT)
        schema.add_field("pooled", DataType.BOOL)
    index = client.prepare_index_params()
    index.add_index("feature", index_type="FLAT" if embedded else "AUTOINDEX", metric_type="COSINE")
    client.create_collection(
        collection,
        schema=schema,
        index_params=index,
        properties={RECORD: json.dumps(record)},
        consistency_level="Strong",
    )


def described(client: Any, collection: str, target: str | Path) -> dict[str, Any]:
    if not client.has_collection(collection):
        known = ", ".join(client.list_collections()) or "none"
        raise FileNotFoundError(f"{shown(target)} has no collection {collection!r}; there are: {known}")
    return dict(client.describe_collection(collection))


def labels_may_be_missing(about: dict[str, Any]) -> bool:
    """Whether entries may lack identity, camera or time. Servers before Milvus 2.5 allow no missing values."""
    return all(field.get("nullable") for field in about["fields"] if field["name"] in LABELS)


def gallery_record(about: dict[str, Any], collection: str, target: str | Path) -> dict[str, Any]:
    try:
        text = (about.get("properties") or {}).get(RECORD)
        record = json.loads(text) if text else json.loads(about["description"])[RECORD]
        if record["format"] == FORMAT and {"model", "modality", "dim"} <= record.keys():
            return dict(record)
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"the collection {collection!r} at {shown(target)} is no gallery of this library")


def refuse_existing(client: Any, target: str | Path, collection: str) -> None:
    """Raises ValueError if there is a collection of that name."""
    if client.has_collection(collection):
        raise ValueError(
            f"{shown(target)} has a collection {collection!r} already; add to it, or choose another name"
        )


def open_embedded(client: Any, folder: Path, collection: str) -> Path:
    """Loads an embedded collection that only the caller has open. Returns a file that marks it as open.

    The caller removes that file when it closes the collection. If the file is there already, the last process did not
    close it. Then the indexes are deleted, so that the database builds them again, and every row is written again.
    The reason: the database writes indexes in place and does not check them, and it counts the rows that it recovers
    from its log, but a search does not find them.
    """
    mark = folder / f"{collection}.open"
    cut = mark.exists()
    if cut:
        for file in (folder / FILES / "collections" / collection).glob("partitions/*/indexes/*idx"):
            file.unlink(missing_ok=True)
    mark.touch()
    client.load_collection(collection)
    if cut:
        names = []
        pages = client.query_iterator(collection, batch_size=BATCH, output_fields=["name"])
        while page := pages.next():
            names += [row["name"] for row in page]
        pages.close()
        names = list(dict.fromkeys(names))
        for start in range(0, len(names), BATCH):
            client.upsert(collection, client.get(collection, ids=names[start : start + BATCH]))
        client.flush(collection)
    return mark
