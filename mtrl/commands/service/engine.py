"""What the service does with a request: decode, encode in dynamic batches, search and change the index."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mtrl.commands.service.batching import Batcher
from mtrl.commands.service.telemetry import Telemetry
from mtrl.data.video.thermal import check_scaling
from mtrl.files.images import read_image, to_batch
from mtrl.labels.names import canonical, short
from mtrl.models.config import Modality
from mtrl.models.reid import MTRL
from mtrl.models.spectrum import detect_modality
from mtrl.retrieval.filters import Filter, parse_time
from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.stores.base import Store
from mtrl.retrieval.tracks import pool

MOST_RESULTS = 1000


class Engine:
    """A model, its index, and the threads that work on both. `most`: images of a batch."""

    def __init__(self, model: MTRL, store: Store, telemetry: Telemetry, most: int = 64) -> None:
        store.check_model(model)
        self.model, self.store, self.telemetry = model.eval(), store, telemetry
        self.fingerprint = model.fingerprint()
        self.batcher = Batcher(self._encode, most, noted=telemetry.batch)
        self._decoders = ThreadPoolExecutor(max(2, os.cpu_count() or 2), thread_name_prefix="decode")
        self._stores = ThreadPoolExecutor(2, thread_name_prefix="store")
        self._changing = asyncio.Lock()
        telemetry.entries.set(len(store))

    async def encode(
        self, images: Sequence[tuple[str, bytes]], modality: str
    ) -> tuple[Tensor, list[Modality]]:
        """(features [N,D], the spectrum of each image). Raises ValueError for an image that cannot be read."""
        loop = asyncio.get_running_loop()
        contents = [content for _, content in images]
        batch, spectra = await loop.run_in_executor(self._decoders, self._decode, contents, modality)
        features = torch.empty(len(images), self.model.dim)
        for kind in dict.fromkeys(spectra):
            rows = [row for row, value in enumerate(spectra) if value is kind]
            features[rows] = await self.batcher.encode(batch[rows], kind)
        return features, spectra

    async def search(self, features: Tensor, options: dict[str, Any]) -> list[list[dict[str, Any]]]:
        """The nearest entries of each query, as JSON objects. Raises ValueError for wrong options."""
        k = whole(options.get("k", 10), "k")
        if not 1 <= k <= MOST_RESULTS:
            raise ValueError(f"k is 1 to {MOST_RESULTS}, not {k}")
        where = chosen(options)
        queries = pool(features) if truth(options.get("pool", False)) else features
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._stores, self.store.find, queries, k, where)
        return [[dataclasses.asdict(match) for match in matches] for matches in found]

    async def add(
        self, features: Tensor, spectra: Sequence[Modality], names: Sequence[str], options: dict[str, Any]
    ) -> int:
        """Adds images, or replaces those of the same name; gives the number of entries then."""
        entries = self._entries(features, spectra, names, options)
        return (await self._change(self.store.upsert, entries))[1]

    async def delete(self, options: dict[str, Any]) -> tuple[int, int]:
        """(deleted, left). Raises ValueError for a filter that says nothing."""
        return await self._change(self.store.delete, chosen(options))

    async def count(self) -> int:
        """The number of entries."""
        return await asyncio.get_running_loop().run_in_executor(self._stores, len, self.store)

    async def stop(self) -> None:
        """Ends the threads. The store stays open."""
        await self.batcher.stop()
        self._decoders.shutdown()
        self._stores.shutdown()

    async def _change(self, change: Callable[[Any], Any], argument: Any) -> tuple[Any, int]:
        """(what the store says, the number of entries then)."""
        loop = asyncio.get_running_loop()
        async with self._changing:
            said = await loop.run_in_executor(self._stores, change, argument)
            count = await self.count()
        self.telemetry.entries.set(count)
        return said, count

    def _decode(self, contents: Sequence[bytes], modality: str) -> tuple[Tensor, list[Modality]]:
        """One image after the other, so that only one is held in full size."""
        limits = self.store.value_range
        one = None if modality == "auto" else Modality.parse(modality)
        resized, spectra = [], []
        try:
            for row, content in enumerate(contents):
                image = read_image(content, f"image {row}", limits)
                spectra.append(detect_modality(image) if one is None else one)
                resized.append(to_batch([image], self.model.config.image_size))
            check_scaling(contents, spectra, limits)
        except OSError as error:  # a truncated image: the sender's fault, not the disk's
            raise ValueError(str(error)) from error
        return torch.cat(resized), spectra

    def _encode(self, images: Tensor, modality: Modality) -> Tensor:
        with torch.inference_mode():
            embedding = self.model(self.model.normalise(images), modality).embedding
            return F.normalize(embedding.float()).cpu()

    def _entries(
        self, features: Tensor, spectra: Sequence[Modality], names: Sequence[str], options: dict[str, Any]
    ) -> Gallery:
        labels = {
            "identities": options.get("identity"),
            "cameras": None if "camera" not in options else whole(options["camera"], "camera"),
            "times": None if "time" not in options else parse_time(str(options["time"])),
            "tracks": options.get("track"),
        }
        columns = {name: None if value is None else (value,) * len(names) for name, value in labels.items()}
        track = labels["tracks"]
        if track is not None and canonical(str(track)) in map(canonical, names):
            raise ValueError(
                f"an image named as its track, {short(track)!r}, would stand for the whole track; name it otherwise"
            )
        mixed = getattr(getattr(self.store, "gallery", self.store), "modality", None) is None
        if not mixed and len(set(spectra)) > 1:
            raise ValueError("this index holds one spectrum; send the images of one request in it")
        return Gallery(
            features,
            tuple(names),
            None if mixed else spectra[0],
            model=self.fingerprint,
            value_range=self.store.value_range,
            modalities=tuple(spectra) if mixed else None,
            **columns,  # type: ignore[arg-type]
        )


def chosen(options: dict[str, Any]) -> Filter:
    """The filter of a request: identities, cameras, names, after, before, spectrum, only."""
    return Filter(
        names=tuple(map(str, several(options.get("names")))),
        identities=tuple(map(str, several(options.get("identities")))),
        cameras=tuple(whole(value, "cameras") for value in several(options.get("cameras"))),
        after=None if "after" not in options else parse_time(str(options["after"])),
        before=None if "before" not in options else parse_time(str(options["before"])),
        modalities=tuple(several(options.get("spectrum"))),
        only=str(options.get("only", "")),
    )


def several(value: Any) -> list[Any]:
    """A list as it is; of a form, where all is text, one value."""
    return [] if value is None else value if isinstance(value, list) else [value]


def whole(value: Any, name: str) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not text.removeprefix("-").isdecimal() or len(text) > 20:
        raise ValueError(f"{name} must be a whole number")
    return int(text)


def truth(value: Any) -> bool:
    if str(value).lower() in ("true", "1", "yes"):
        return True
    if str(value).lower() in ("false", "0", "no"):
        return False
    raise ValueError("pool must be true or false")
