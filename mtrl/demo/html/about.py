"""The text of the About tab, and the page's words on use and storage."""

from __future__ import annotations

from html import escape

from mtrl.demo.html.charts import method_figure
from mtrl.demo.html.model_card import Card
from mtrl.demo.service.gallery_folder import GalleryImage
from mtrl.demo.service.images import fit
from mtrl.demo.service.service import DemoService
from mtrl.files.images import read_image
from mtrl.models.config import Modality

METHOD = """
<ol>
<li>A person looks different by day and by night: an infrared camera sees no colours, and other brightness.</li>
<li>Before training, each visible picture is translated into a <b class="m-t">transition image</b>, aligned with it
pixel by pixel and similar to infrared.</li>
<li>In training the transition is a stepping stone: each visible picture is pulled to its own transition (hop 1), and
each transition to infrared pictures of the same person (hop 2).</li>
<li>There are two more losses. One takes the mean of a person's visible, transition and infrared pictures, keeps the
three means together, and keeps them away from those of other people. The other makes a visible picture and its
transition rank the infrared pictures in the same order.</li>
<li>These losses add no parameter to the network, and searching needs no translator: a search is one pass through an
ordinary network, and a comparison with every picture of the gallery.</li>
</ol>
<p class="m-mute">The idea is that of arXiv 2511.02685; the formulas of this implementation are its own.</p>
"""

# Of docs/results.md, which has the commands: three seeds, people of --test-seed 1; guessed are spectral transitions.
DOES_IT_HELP = """
<p>Measured on drawn people that nothing was tuned on, with the same network from ImageNet weights (for thermal after a
first training without transitions), the same pictures and as many steps: mean average precision in percent, infrared to
visible / visible to infrared, three trainings. A transition is guessed from the colours, or it is the true infrared
view of the same instant, which drawings have.</p>
<div class="m-wide"><table class="m-table">
<thead><tr><th>training</th><th>near-infrared, guessed</th><th>near-infrared, true</th><th>thermal, guessed</th>
<th>thermal, true</th></tr></thead>
<tbody>
<tr><th>without transitions or contrast</th>
<td colspan="2" style="text-align:center">14.9 / 19.1</td>
<td colspan="2" style="text-align:center">8.7 / 10.1</td></tr>
<tr><th>visible pulled straight to infrared</th>
<td>23.3 / 28.1</td><td>21.4 / 26.1</td><td><b>12.7 / 16.1</b></td><td>12.5 / 16.1</td></tr>
<tr><th>by way of the transition</th>
<td>27.2 / 31.8</td><td>26.8 / 32.1</td><td>11.6 / 13.6</td><td>15.3 / 19.2</td></tr>
<tr><th>both ways at once, as the models shipped here</th>
<td><b>28.6 / 33.0</b></td><td><b>28.7 / 33.3</b></td><td>12.7 / 15.4</td><td><b>16.4 / 20.0</b></td></tr>
</tbody></table></div>
<p>In near-infrared it does. On thermal drawings it does <b>only with true views</b>: beside guessed ones the straight
way alone is as good, also where they look thermal. On pictures of twelve real people the trainings differ too much to
be sure.</p>
"""

USE_LIMITS = """
<ul>
<li><b>Not for</b> watching, tracking or identifying people without their knowledge, one by one or in a crowd.</li>
<li><b>Not for</b> decisions about a person (access, work, credit, insurance, border, policing), nor as evidence: a high
score is a resemblance under one model, no proof of identity.</li>
<li><b>Not for</b> finding out origin, health, belief or any other trait of a person.</li>
<li><b>Not for</b> pictures that were taken from the web, from cameras or from data sets against their terms.</li>
<li><b>Embeddings of people are biometric data</b> in many jurisdictions. Search only with pictures whose people have
consented, or for which a law gives you a basis.</li>
</ul>
"""
STORED = """
<ul>
<li><b>Your pictures</b> lie in a folder of the server that only this page can read, under names that nobody can guess.
They are used for your searches only. They are deleted when you close the page, and after half an hour in any case.</li>
<li><b>Embeddings</b> of your pictures are computed for the answer and not stored. Where the page looks for people in
them, it remembers their places until you close it. The gallery's embeddings stay in memory while the page runs.</li>
<li><b>A model that you choose</b> is loaded for your visit. The server keeps the last few in memory, for everybody who
chooses them again.</li>
<li><b>Nothing else</b> is collected: no accounts, no cookies, no analytics, no log of pictures or visitors. The page
itself contacts no other server, except the Hugging Face Hub when you name a model there.</li>
</ul>
"""
BESIDE_UPLOAD = """<div class="m-scope"><p class="m-refused" role="alert" hidden></p>
<p class="m-mute m-private">Your picture goes to the server of this page and is used
for your searches only. It is deleted when you close the page, and after half an hour in any case. Use pictures of
people who agree, or where a law allows it. Never use the page to watch or identify somebody.
<a href="?tab=about" target="_blank" rel="noopener">What is not allowed, what is stored</a></p></div>"""
ROUGH = (
    "Photographs of real people give a transition and a ranking, but expect rough guesses; for real use, train on "
    "licensed data of your own."
)
KIND = "Expect it to work on pictures like those only."
MISTAKES = """<li><b>A score is no proof.</b> Clothes decide much of it: the same person in other clothes is another
one to the model, two people in one uniform are the same. Somebody always ranks first, also when the person is not
in the gallery. Results need a human look.</li>"""


def about_html(service: DemoService, card: Card | None = None) -> str:
    """The method with its figure, the model's facts, limits and intended use. `card` is the model's."""
    height, width = service.model.config.image_size
    parameters = sum(p.numel() for p in service.model.parameters())
    people = {p.person for p in service.images if p.identity is not None}
    facts = [
        (service.model.config.backbone, "backbone"),
        (f"{parameters / 1e6:.2f} million", "parameters, none added for the transition"),
        (f"{height} × {width}", "pixels, height × width"),
        (f"{service.features[Modality.VISIBLE].shape[1]}", "numbers per embedding"),
        (
            f"{len(service.images)}",
            f"gallery pictures of {len(people)} people" if people else "gallery pictures",
        ),
    ]
    if service.threshold:
        facts.append(
            (
                f"{service.threshold.true:.0%}",
                "of comparisons of one person pass the threshold",
            )
        )
    cards = "".join(f"<div><b>{value}</b><span>{text}</span></div>" for value, text in facts)
    return (
        f'<div class="m-scope m-about"><section><h2>The method in five steps</h2>{METHOD}</section>'
        f"{_figure(service)}"
        f"<section><h2>Does the stepping stone help?</h2>{DOES_IT_HELP}</section>"
        f'<section><h2>The model on this page</h2><div class="m-facts">{cards}</div></section>'
        f"<section><h2>Limits</h2><ul>{people_html(service, card)}{MISTAKES}</ul></section>"
        f"<section><h2>What this may not be used for</h2>{USE_LIMITS}</section>"
        f"<section><h2>What is stored, and for how long</h2>{STORED}</section></div>"
    )


def people_html(service: DemoService, card: Card | None) -> str:
    """Who is seen here and who the model has learned from, as far as that is known."""
    drawn_gallery = any(image.truth is not None for image in service.images)
    drawn_model = card is not None and card.drawn
    if drawn_gallery and drawn_model:
        head, text = (
            "The people here are drawn.",
            f"The model has learned from drawn people only, too. {ROUGH}",
        )
    elif drawn_gallery:
        head, text = "The people of this gallery are drawn.", f"{_learned_from(card)} {KIND}"
    elif drawn_model:
        head, text = "This model has learned from drawn people only.", ROUGH
    else:
        head, text = "This gallery was chosen by whoever runs this page.", f"{_learned_from(card)} {KIND}"
    return f"<li><b>{head}</b> {text}</li>"


def _learned_from(card: Card | None) -> str:
    if card is None or not card.data:
        return "What the model has learned from is not stated."
    return f"According to its card, the model has learned from {escape(card.data)}."


def _figure(service: DemoService) -> str:
    person = _shown_person(service.images)
    if person is None:
        return ""
    mine = [p for p in service.images if p.person == person]
    visible = [read_image(p.path) for p in mine if p.modality is Modality.VISIBLE][:2]
    infrared = [read_image(p.path) for p in mine if p.modality is Modality.INFRARED][:2]
    transition = [service.translate(image).transition for image in visible]
    return method_figure(
        [fit(i, 256) for i in visible],
        transition,
        [fit(i, 256) for i in infrared],
        f"person {mine[0].identity}",
    )


def _shown_person(images: list[GalleryImage]) -> str | None:
    """The first person seen at least twice in each spectrum, else once; None if nobody is."""
    for least in (2, 1):
        for person in dict.fromkeys(p.person for p in images if p.identity is not None):
            counts = [sum(p.person == person and p.modality is m for p in images) for m in Modality]
            if min(counts) >= least:
                return person
    return None
