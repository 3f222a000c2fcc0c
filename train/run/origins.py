"""What a run learns from besides its settings: fingerprints of models, translators and images, kept in its folder.

A name stays when what lies behind it is replaced, a fingerprint does not. A run that goes on, or counts as finished, is
compared with what it began with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mtrl.data.imageset import ImageSet
from mtrl.data.transitions import translator_key
from mtrl.models.reid import MTRL
from mtrl.translate.files import fingerprint
from mtrl.translate.interface import Translator
from mtrl.translate.learned import Learned

Origin = dict[str, str]  # {"source": its name, "fingerprint": a text that changes with its content}


def of_model(source: str, model: MTRL) -> Origin:
    return {"source": source, "fingerprint": model.fingerprint()}


def of_translator(source: str, translator: Translator) -> Origin:
    """Of learned weights, or what a class of your own says by `fingerprint()`; "" for code alone."""
    if isinstance(translator, Learned):
        return {"source": source, "fingerprint": fingerprint(translator)}
    own = translator_key(translator) if "fingerprint" in vars(type(translator)) else None
    return {"source": source, "fingerprint": own or ""}


def of_images(images: ImageSet) -> Origin:
    """Of names, and of who is whom; pixels are not read, and what number an identity or camera has does not matter."""
    found = hashlib.sha256("\n".join(images.names).encode("utf-8", "surrogateescape"))
    for labels in (images.identities, images.cameras, images.modalities):
        found.update(np.unique(labels, return_inverse=True)[1].astype(np.int64).tobytes())
    return {"source": f"of {len(images)} names and labels", "fingerprint": found.hexdigest()}


def check_same(record: Path, now: Mapping[str, Origin]) -> None:
    """Raises ValueError if a run's `environment.json` has another fingerprint of one of these.

    No fingerprint, or an empty one, on either side says nothing.
    """
    facts = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    for name, its in now.items():
        before, after = facts.get(name, {}).get("fingerprint"), its["fingerprint"]
        if before and after and before != after:
            raise ValueError(
                f"{record.parent}: {name} changed since the run began ({its['source']}: fingerprint "
                f"{before[:16]}, now {after[:16]}); bring back what was there, or start another run"
            )
