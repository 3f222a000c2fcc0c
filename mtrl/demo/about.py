"""The text of the About tab."""

from __future__ import annotations

import re
from pathlib import Path

from mtrl.config import Modality
from mtrl.demo.figures import method_figure
from mtrl.demo.folder import Picture
from mtrl.demo.pictures import fit
from mtrl.demo.service import DemoService
from mtrl.images import read_image

METHOD = """
<ol>
<li>A person looks different by day and by night: an infrared camera sees no hue, and brightness only in part.</li>
<li>Before training, each visible picture is translated into a <b class="m-t">transition image</b>, aligned with it
pixel by pixel and similar to infrared.</li>
<li>In training the transition is the stepping stone: each visible picture is pulled to its own transition (hop 1), and
transitions to infrared pictures of the same person (hop 2).</li>
<li>Two more terms keep each person's three centres together and apart from other people's, and make a visible picture
and its transition rank the infrared pictures alike.</li>
<li>None of these losses has a parameter, and the translator is left behind: a search costs one pass of an ordinary
network and a list of cosines.</li>
</ol>
<p class="m-mute">The idea is that of arXiv 2511.02685; the formulas of this implementation are its own.</p>
"""

LIMITS = """
<ul>
<li><b>The people here are drawn.</b> The shipped model has learned from synthetic pedestrians only. Real photographs
give a transition and a ranking, but expect rough guesses; for real use, train on licensed data of your own.</li>
<li><b>A score is no proof.</b> Clothing decides much of it. Results need a human look and never justify a decision
about a person by themselves.</li>
<li><b>Embeddings of people are biometric data</b> in many jurisdictions. Search only pictures whose people have
consented, or for which you have a legal basis. Not for surveillance, tracking or profiling of people without one.</li>
<li><b>Your pictures:</b> an upload is used for your query only and is deleted from the server within the hour after it;
nothing is collected, and the page contacts no other server.</li>
</ul>
"""


def about_html(service: DemoService) -> str:
    """The method with its figure, the model's facts, limits and intended use."""
    height, width = service.model.config.image_size
    parameters = sum(p.numel() for p in service.model.parameters())
    people = {p.identity for p in service.pictures if p.identity is not None}
    facts = [
        (service.model.config.backbone, "backbone"),
        (f"{parameters / 1e6:.2f} million", "parameters, none added for the transition"),
        (f"{height} × {width}", "pixels, height × width"),
        (f"{service.features[Modality.VISIBLE].shape[1]}", "numbers per embedding"),
        (
            f"{len(service.pictures)}",
            f"gallery pictures of {len(people)} people" if people else "gallery pictures",
        ),
    ]
    if service.threshold:
        facts.append(
            (
                f"{service.threshold.true:.0%}",
                f"of same-person pairs accepted at {service.threshold.false:.0%} false matches",
            )
        )
    cards = "".join(f"<div><b>{value}</b><span>{text}</span></div>" for value, text in facts)
    return (
        f'<div class="m-scope m-about"><section><h2>The method in five sentences</h2>{METHOD}</section>'
        f"{_figure(service)}"
        f'<section><h2>The model on this page</h2><div class="m-facts">{cards}</div></section>'
        f"<section><h2>Limits and intended use</h2>{LIMITS}</section></div>"
    )


def _figure(service: DemoService) -> str:
    person = _pictured_person(service.pictures)
    if person is None:
        return ""
    mine = [p for p in service.pictures if p.identity == person]
    visible = [read_image(p.path) for p in mine if p.modality is Modality.VISIBLE][:2]
    infrared = [read_image(p.path) for p in mine if p.modality is Modality.INFRARED][:2]
    transition = [service.translate(image).transition for image in visible]
    return method_figure(
        [fit(i, 256) for i in visible], transition, [fit(i, 256) for i in infrared], f"person {person}"
    )


def _pictured_person(pictures: list[Picture]) -> int | None:
    """The first person seen at least twice in each spectrum, else once; None if nobody is."""
    for least in (2, 1):
        for person in dict.fromkeys(p.identity for p in pictures if p.identity is not None):
            counts = [sum(p.identity == person and p.modality is m for p in pictures) for m in Modality]
            if min(counts) >= least:
                return person
    return None


def card_text(checkpoint: Path | None) -> str:
    """The model card beside a checkpoint as Markdown, without its front matter and without pictures from elsewhere."""
    path = checkpoint / "README.md" if checkpoint else None
    if path is None or not path.is_file():
        return "_This checkpoint comes without a model card on this machine._"
    text = path.read_text(encoding="utf-8", errors="replace")
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    return re.sub(
        r"<(img|iframe|script|link|style|video|audio|source|object|embed)[^>]*>",
        "",
        text,
        flags=re.IGNORECASE,
    )
