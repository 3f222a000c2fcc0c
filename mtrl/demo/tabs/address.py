"""The page's address as what is searched: settings that differ from the usual ones, by name."""

from __future__ import annotations

import dataclasses
from urllib.parse import parse_qs, urlencode

from mtrl.demo.service.galleries import Galleries
from mtrl.demo.service.models import Models
from mtrl.demo.service.service import AUTO, DIRECTIONS, MAX_RESULTS
from mtrl.demo.service.thresholds import RATES, USUAL_RATE

SHOWN = 12  # results


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the tab Retrieve searches with, besides the image.

    direction  `AUTO` or one of `DIRECTIONS`
    k          results shown
    rate       one of `RATES`
    gallery    name of a gallery, None or "" for the page's first
    source     of the visitor's model, "" for the page's own
    second     source of a model that answers beside it, None for none
    """

    direction: str = AUTO
    k: int = SHOWN
    rate: str = USUAL_RATE
    gallery: str | None = None
    source: str = ""
    second: str | None = None

    def address(self, example: str | None, first_gallery: str | None) -> str:
        """The query of an address that restores these settings and the example, without "?"."""
        usual = Settings()
        named = {
            "example": example,
            "direction": self.direction if self.direction != usual.direction else None,
            "k": self.k if self.k != usual.k else None,
            "threshold": self.rate if self.rate != usual.rate else None,
            "gallery": self.gallery if self.gallery != first_gallery else None,
            "model": self.source,
            "second": self.second,
        }
        return urlencode({key: value for key, value in named.items() if value})


def parse(address: str, models: Models, galleries: Galleries) -> tuple[Settings, str | None, str | None]:
    """Settings, example and tab of an address. What it says wrongly, and what only a person may ask for, is left out:
    a link from elsewhere opens no folder and loads no model that is not in use here already."""
    said = {key: values[0] for key, values in parse_qs(address.lstrip("?")[:2000]).items()}
    k, second = said.get("k", ""), said.get("second")
    asked = Settings(
        direction=said["direction"] if said.get("direction") in DIRECTIONS else AUTO,
        k=int(k) if k.isascii() and k.isdecimal() and len(k) < 4 and 1 <= int(k) <= MAX_RESULTS else SHOWN,
        rate=said["threshold"] if said.get("threshold") in RATES else USUAL_RATE,
        gallery=said["gallery"] if said.get("gallery") in galleries.names else galleries.names[0],
        source=said["model"] if models.is_ready(said.get("model")) else "",
        second=second if second == models.home.name or models.is_ready(second) else None,
    )
    return asked, said.get("example"), said.get("tab")
