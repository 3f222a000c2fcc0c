"""The model card of a learned translator: what it is, how it was trained, its metrics and its limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mtrl.models.card import closing_sections, front_matter

from .learned import Learned

TAGS = ("visible-infrared", "image-translation", "person-re-identification", "mtrl")
USES = """\
For research: the transition images with which visible-infrared re-identification is trained.

**Not for** passing off what it draws as what an infrared camera recorded, nor as a step in watching or identifying
people without their knowledge. `docs/responsible-use.md` of the library says more."""
PRIVACY = """\
- **In these files**: weights and settings. No image or name of the people it was trained on; but weights remember
  something of their data, so those of real people's images are personal data too.
- **While it translates**: images are read and forgotten; nothing is logged or sent anywhere. What is written is the
  translated image that you ask for.
- **A translated image shows the same person**: it hides nobody, and what holds for the photograph holds for it."""
LIMITS = (
    "It guesses. How a fabric looks in infrared does not follow from its colour; what comes out is plausible, "
    "not measured. Never use it as evidence of what an infrared camera saw.",
    "It knows the cameras it was trained on; on others its brightness and contrast will be off.",
    "It adds no noise or blur of its own: a deterministic function of the image.",
)


@dataclasses.dataclass(frozen=True)
class TranslatorFacts:
    """The content of a card beyond the network's configuration. Empty fields are left out.

    name      title
    dataset   what the translator was trained on
    command   the exact command that trained it
    seed      seed of the training
    training  further facts by name
    table     Markdown table by `python -m eval translators`
    limits    sentences that are added to the limits of all translators
    license   an identifier of the Hugging Face Hub, such as "mit"
    """

    name: str = "MTRL translator"
    dataset: str = ""
    command: str = ""
    seed: int | None = None
    training: dict[str, str] = dataclasses.field(default_factory=dict)
    table: str = ""
    limits: Sequence[str] = ()
    license: str = "mit"


def translator_card(translator: Learned, facts: TranslatorFacts) -> str:
    """README.md of a translator: YAML front matter as the Hugging Face Hub reads it, then Markdown."""
    count = sum(parameter.numel() for parameter in translator.parameters())
    config = translator.config
    at = f" Images of another height are brought to {config.height} pixels, and the correction back." * (
        config.height > 0
    )
    rows = [
        f"- {name}: {value}" for name, value in [("Data", facts.dataset), *facts.training.items()] if value
    ]
    if facts.seed is not None:
        rows.insert(1, f"- Seed: {facts.seed}")
    if facts.command:
        rows.append(f"\n```\n{facts.command}\n```")
    sections = [
        front_matter(facts.license, "image-to-image", TAGS),
        f"# {facts.name}\n\nTurns visible images of people into infrared-like ones of the same size, pixel on pixel: "
        f"luminance plus a correction by a convolutional network of {count / 1e6:.2f} million parameters "
        f"({config.width} channels at full resolution, {config.blocks} residual blocks of {config.deep} channels at "
        f"stride 8).{at} It makes the transition images of training; a re-identification model does not need it.",
        "## Use\n\n" + _USAGE,
        "## Training\n\n" + "\n".join(rows),
    ]
    if facts.table:
        sections.append("## Measured\n\n" + facts.table.strip())
    sections.append("## Intended use\n\n" + USES)
    sections.append("## Privacy\n\n" + PRIVACY)
    sections.append("## Limits\n\n" + "\n".join(f"- {limit}" for limit in (*LIMITS, *facts.limits)))
    sections += closing_sections(facts.license)
    return "\n\n".join(sections) + "\n"


_USAGE = """\
```python
from mtrl.translate import load_translator

translator = load_translator("user/repo")  # or the folder of this file
infrared = translator(images)  # float [N, 3, H, W] in [0, 1] -> the same
```

`python -m mtrl translate IN OUT --translator user/repo` does it for files."""
