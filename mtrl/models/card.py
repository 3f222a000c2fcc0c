"""The model card, `README.md` beside a checkpoint: what the model is for, how it was trained, and its metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from huggingface_hub import EvalResult, ModelCardData

from mtrl.hub.client import PLACEHOLDER
from mtrl.models.config import ModelConfig

PAPER = "https://arxiv.org/abs/2511.02685"
USES = """\
For research on visible-infrared person re-identification: comparing methods, teaching, reproducing figures.

**Not for** watching, tracking or identifying people without their knowledge, for decisions about a person (access,
work, credit, insurance, border, policing), for inferring origin, health, belief or any other trait, for images that
were taken against somebody's terms, or as evidence: a high score is a resemblance under this model, not a proof of
identity. An embedding of a person's image is biometric data: use it only with people who know of it and agree, or where
a law that names this use allows it. `docs/responsible-use.md` of the library says more."""
PRIVACY = """\
- **In these files**: weights and settings. No image, name or embedding of the people it was trained on; but weights
  remember something of their data, so those of real people's images are personal data too.
- **While it embeds**: images are read and forgotten. Nothing is written, logged or sent anywhere.
- **In a gallery that you save**: embeddings, names of files and, where you gave them, identities and cameras, until
  you delete it. Deleting the images does not delete it. Set a term for both before you start.
- **On the demo page** (`python app.py`): an uploaded image is deleted when the visit ends, half an hour after it
  came at the latest."""
CITATION = f"""\
The idea is that of the paper; the formulas are this project's own.

```bibtex
@misc{{yuan2025modalitytransition,
  title  = {{Modality-Transition Representation Learning for Visible-Infrared Person Re-Identification}},
  author = {{Chao Yuan and Zanwu Liu and Guiwei Zhang and Haoxuan Xu and Yujian Zhao and Guanglin Niu and Bo Li}},
  year   = {{2025}},
  eprint = {{2511.02685}},
  archivePrefix = {{arXiv}},
  url    = {{{PAPER}}}
}}
```"""
TAGS = ("person-re-identification", "visible-infrared", "image-retrieval", "mtrl")
LICENCES = {"mit": "MIT"}
_STEMS = {
    "shared": "shared stem",
    "dual": "dual stem",
    "embedding": "shared stem (trained with a modality embedding)",
}
LIMITS = (
    "Expects one whole, upright person per image, cropped close; anything else still gets an embedding.",
    "Clothes carry most of what it recognises: the same person in other clothes is another person to it.",
    "Not tested for equal error rates between groups of people.",
)


@dataclasses.dataclass(frozen=True)
class Result:
    """Metrics of one evaluation, as fractions in [0, 1].

    dataset, setting  what was evaluated, in words
    mean_inp          None if it was not computed
    deviation         standard deviation of mAP over the trials
    trials            number of trials
    """

    dataset: str
    setting: str
    rank1: float
    mean_ap: float
    mean_inp: float | None = None
    deviation: float | None = None
    trials: int | None = None


@dataclasses.dataclass(frozen=True)
class CardFacts:
    """The content of a card beyond the model's configuration. Empty fields are left out.

    name        title
    dataset     what the model was trained on
    command     the exact command that trained it
    training    further facts, such as {"epochs": "60", "machine": "2 CPU cores, 40 minutes"}
    results     metrics by `python -m eval`
    protocol    the rules of the evaluation, in a sentence or two
    evaluation  the command that prints the metrics
    limits      sentences that are added to the limits of all models
    license     an identifier of the Hugging Face Hub, such as "mit"
    """

    name: str = "MTRL"
    dataset: str = ""
    command: str = ""
    seed: int | None = None
    training: dict[str, str] = dataclasses.field(default_factory=dict)
    results: Sequence[Result] = ()
    protocol: str = ""
    evaluation: str = ""
    limits: Sequence[str] = ()
    license: str = "mit"


def model_card(config: ModelConfig, facts: CardFacts | None = None) -> str:
    """README.md of a checkpoint: YAML front matter as the Hugging Face Hub reads it, then Markdown."""
    facts = facts or CardFacts()
    front = front_matter(facts.license, "image-feature-extraction", TAGS, facts.name, facts.results)
    sections = [front, f"# {_line(facts.name)}\n\n{_summary(config)}"]
    if facts.results:
        parts = [_table(facts.results), facts.protocol.strip()]
        parts += [f"Printed by:\n\n```\n{facts.evaluation.strip()}\n```"] * bool(facts.evaluation)
        sections.append("## Results\n\n" + "\n\n".join(part for part in parts if part))
    sections.append("## Use\n\n" + _USAGE)
    made = [("Data", facts.dataset), ("Seed", "" if facts.seed is None else str(facts.seed))]
    rows = [f"- {name}: {_line(value)}" for name, value in (*made, *facts.training.items()) if value]
    if facts.command:
        rows.append(f"\n```\n{facts.command.strip()}\n```")
    if rows:
        sections.append("## Training\n\n" + "\n".join(rows))
    sections.append("## Intended use\n\n" + USES)
    sections.append("## Privacy\n\n" + PRIVACY)
    sections.append("## Limits\n\n" + "\n".join(f"- {_line(limit)}" for limit in (*LIMITS, *facts.limits)))
    sections += closing_sections(facts.license)
    return "\n\n".join(sections) + "\n"


def closing_sections(license: str) -> list[str]:
    """The sections on licence and citation, for the cards of models and translators."""
    licence = (
        f"## Licence\n\n{LICENCES.get(license, license)}. Data sets keep the terms of their authors: weights "
        "trained on them may not be used in ways that those forbid."
    )
    return [licence, "## Citation\n\n" + CITATION]


_USAGE = f"""\
```python
from mtrl import Gallery, load_pretrained

model = load_pretrained("{PLACEHOLDER}")  # or the folder of this file
gallery = Gallery.build(model, ["night1.jpg", "night2.jpg"], modality="infrared")
scores, indices = gallery.search(model.encode(["day.jpg"], modality="visible"), k=2)
```"""


def front_matter(
    license: str, pipeline: str, tags: Sequence[str], name: str = "", results: Sequence[Result] = ()
) -> str:
    """The YAML block at the top of a card, as the Hugging Face Hub reads it.

    license   an identifier of the Hub
    pipeline  the Hub's name of the task
    results   metrics, which are listed under `name`, in per cent
    """
    data = ModelCardData(
        library_name="mtrl",
        license=license,
        pipeline_tag=pipeline,
        tags=list(tags),
        model_name=name or None,
        eval_results=[entry for result in results for entry in _index_entries(result)] or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def _index_entries(result: Result) -> list[EvalResult]:
    metrics = [("rank-1", result.rank1), ("mAP", result.mean_ap), ("mINP", result.mean_inp)]
    return [
        EvalResult(
            task_type="image-retrieval",
            task_name="visible-infrared person re-identification",
            dataset_type=result.dataset,
            dataset_name=f"{result.dataset}, {result.setting}",
            dataset_config=result.setting,  # the Hub lists metrics of each setting separately
            metric_type=metric,
            metric_name=metric,
            metric_value=round(100 * value, 2),
        )
        for metric, value in metrics
        if value is not None
    ]


def _summary(config: ModelConfig) -> str:
    height, width = config.image_size
    return (
        "Embeds visible and infrared images of people so that images of one person lie close together, "
        f"whatever the spectrum. A `{config.backbone}` with {config.pooling} pooling and a batch-normalisation neck; "
        f"{_STEMS[config.stem]}; images of {height} x {width} pixels."
    )


def _table(results: Iterable[Result]) -> str:
    rows = ["| data | setting | rank-1 | mAP | mINP | trials |", "|---|---|---|---|---|---|"]
    for result in results:
        spread = "" if result.deviation is None else f" ± {100 * result.deviation:.1f}"
        inp = "" if result.mean_inp is None else f"{100 * result.mean_inp:.1f}"
        rows.append(
            f"| {_line(result.dataset)} | {_line(result.setting)} | {100 * result.rank1:.1f} "
            f"| {100 * result.mean_ap:.1f}{spread} | {inp} | {result.trials or ''} |"
        )
    return "\n".join(rows) + "\n\nPer cent; mean over trials."


def _line(text: str) -> str:
    """Text made safe for one line or table cell of Markdown."""
    return " ".join(text.split()).replace("|", "\\|")
