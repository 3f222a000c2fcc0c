"""The sentences on a search: how it went, what its scores are worth, who cannot be among the results."""

from __future__ import annotations

from mtrl.demo.html.charts import number
from mtrl.demo.service.results import Retrieval
from mtrl.demo.service.thresholds import ABSENT, PairScores

NOT_AMONG = (
    "The people of this gallery are drawn, so nobody in a photograph is among them: these are the drawn people whom "
    "the model finds most like your picture."
)
PERHAPS_ABSENT = "The page cannot know whether the person of your picture is in this gallery at all."


def summary(result: Retrieval, needed: float | None) -> str:
    """How the search went, in one sentence. `needed` is the score from which a result counts as a match."""
    target = result.target.name.lower()
    searched = f"{len(result.scores)} {target} pictures searched"
    best = float(result.scores[0])
    if result.known is None:
        if needed is None:
            return f"{searched}; the most alike scores {number(best)}."
        found = "a possible match" if best >= needed else "no match"
        return f"{searched}: {found}. The most alike scores {number(best)}, and {number(needed)} is needed."
    if result.known.identity is None:
        return f"{searched}; the most alike scores {number(best)}."
    if result.first_right is None:
        return f"{searched}; none of them shows this person."
    where = (
        "The best match is right"
        if result.first_right == 1
        else f"The first right match is at rank {result.first_right}"
    )
    if result.relevant == 1:
        return f"{where}; there is one {target} picture of this person."
    every = f"{'both' if result.relevant == 2 else f'all {result.relevant}'} {target} pictures of this person"
    if result.last_right == result.relevant:
        return f"{where}: {every} come first."
    return f"{where}, and {every} are among the first {result.last_right}."


def not_among(result: Retrieval) -> str:
    """For a visitor's picture: what the gallery cannot hold, or what nobody knows. HTML without foreign text."""
    if result.known is not None:
        return ""
    return f'<p class="m-hint" id="not-among">{NOT_AMONG if result.drawn else PERHAPS_ABSENT}</p>'


def explained(result: Retrieval, pairs: PairScores | None, rate: float) -> str:
    """How many results reach the threshold, and how it was chosen."""
    threshold = pairs.threshold(rate) if pairs else None
    needed = pairs.decision(rate, result.modality, result.known is not None) if pairs else None
    if threshold is None or needed is None:
        return "This gallery has too few pictures of known people to set a threshold."
    count = int((result.scores >= needed).sum())
    reached = (
        f"{count or 'None'} of {len(result.scores)} {'reaches' if count == 1 else 'reach'} the threshold"
    )
    if needed > threshold.value:
        kept = round(100 * (1 - ABSENT))
        return (
            f"{reached} of {number(needed)}. In {kept} of 100 searches for a person who is not in this gallery, "
            "every score stays below it."
        )
    return (
        f"{reached} of {number(needed)}. It lets through {_share(threshold.false)} comparisons of two different people "
        f"in this gallery, and {round(100 * threshold.true)} in 100 of one and the same person."
    )


def greyed(result: Retrieval) -> str:
    """What the grey frames mean, where there are some."""
    if result.last_right is None or result.last_right >= len(result.hits):
        return ""
    return "Grey: nothing is left to find, all pictures of this person stand before. "


def _share(rate: float) -> str:
    return f"1 in {round(1 / rate):,}"
