"""The losses written out slowly, one image after the other, from the equations alone. Plain Python floats."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

Row = Sequence[float]
Rows = Sequence[Row]


def unit(rows: Rows) -> list[list[float]]:
    return [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in rows]


def dot(a: Row, b: Row) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def distance(a: Row, b: Row) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def identity(logits: Rows, y: Sequence[int], smoothing: float) -> float:
    losses = []
    for row, label in zip(logits, y, strict=True):
        log_norm = math.log(sum(math.exp(x) for x in row))
        target = [smoothing / len(row) + (1 - smoothing) * (c == label) for c in range(len(row))]
        losses.append(-sum(t * (x - log_norm) for t, x in zip(target, row, strict=True)))
    return mean(losses)


def softmax_average(values: Sequence[float], sign: float) -> float:
    top = max(sign * v for v in values)
    weights = [math.exp(sign * v - top) for v in values]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def triplet(x: Rows, y: Sequence[int], squared: bool = False) -> float:
    losses = []
    for i in range(len(x)):
        near = [distance(x[i], x[j]) for j in range(len(x)) if y[j] != y[i]]
        far = [distance(x[i], x[j]) for j in range(len(x)) if y[j] == y[i]]
        if near:
            gap = softmax_average(far, 1) - softmax_average(near, -1)
            gap = math.copysign(gap**2, gap) if squared else gap
            losses.append(gap + math.log1p(math.exp(-gap)) if gap > 0 else math.log1p(math.exp(gap)))
    return mean(losses)


def one_way(
    a: Rows,
    b: Rows,
    positive: Callable[[int, int], bool],
    negative: Callable[[int, int], bool],
    temperature: float,
    margin: float | None = None,
) -> float:
    losses = []
    for i in range(len(a)):
        good = [j for j in range(len(b)) if positive(i, j)]
        bad = [j for j in range(len(b)) if negative(i, j)]
        if margin is not None:
            if good and bad:
                farthest = max(distance(a[i], b[j]) for j in good)
                nearest = min(distance(a[i], b[j]) for j in bad)
                losses.append(max(0.0, margin + farthest - nearest))
        elif good:
            norm = sum(math.exp(dot(a[i], b[j]) / temperature) for j in [*good, *bad])
            losses.append(mean([math.log(norm) - dot(a[i], b[j]) / temperature for j in good]))
    return mean(losses)


def hop(a, b, positive, negative, temperature, margin=None) -> float:
    forth = one_way(a, b, positive, negative, temperature, margin)
    back = one_way(b, a, lambda i, j: positive(j, i), lambda i, j: negative(j, i), temperature, margin)
    return (forth + back) / 2


def direct(v: Rows, r: Rows, y: Sequence[int], yr: Sequence[int], temperature: float) -> float:
    v, r = unit(v), unit(r)
    return hop(v, r, lambda i, j: y[i] == yr[j], lambda i, j: y[i] != yr[j], temperature)


def transition(v, t, r, y, yr, temperature=0.1, hop1="instance", margin=None, direct_weight=0.0) -> float:
    raw_v, raw_r, v, t, r = v, r, unit(v), unit(t), unit(r)

    def own(i: int, j: int) -> bool:
        return i == j if hop1 == "instance" else y[i] == y[j]

    first = hop(v, t, own, lambda i, j: y[i] != y[j], temperature, margin)
    second = hop(t, r, lambda i, j: y[i] == yr[j], lambda i, j: y[i] != yr[j], temperature, margin)
    shortcut = direct_weight * direct(raw_v, raw_r, y, yr, temperature) if direct_weight else 0.0
    return (first + second) / 2 + shortcut


def average(rows: Rows) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def center(v, t, r, y, yr, margin) -> float:
    v, t, r = unit(v), unit(t), unit(r)
    people = sorted({*y, *yr})
    chains, centers = {}, {}
    for p in people:
        parts = [
            average([row for row, label in zip(rows, labels, strict=True) if label == p])
            for rows, labels in ((v, y), (t, y), (r, yr))
            if p in labels
        ]
        chains[p] = sum(distance(a, b) for a, b in itertools.pairwise(parts))
        centers[p] = average(parts)
    losses = []
    for p in people:
        others = [distance(centers[p], centers[q]) for q in people if q != p]
        losses.append(chains[p] + (max(0.0, margin + chains[p] - min(others)) if others else 0.0))
    return mean(losses)


def softmax(values: Sequence[float]) -> list[float]:
    exps = [math.exp(v) for v in values]
    return [e / sum(exps) for e in exps]


def divergence(p: Row, q: Row) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def query(v, t, r, temperature, y=None, yr=None) -> float:
    v, t, r = unit(v), unit(t), unit(r)

    def answer(question: Row, candidates: Rows) -> list[float]:
        return softmax([dot(question, c) / temperature for c in candidates])

    if not v or not r:
        return 0.0

    def lesson(teacher: list[float], student: list[float], right: list[bool]) -> float:
        """0 where labels are known and the teacher is not nearer to the truth."""
        p, q = (sum(share for share, own in zip(x, right, strict=True) if own) for x in (teacher, student))
        knows_better = p > q and len(set(right)) == 2  # else both give all or nothing
        return divergence(teacher, student) if y is None or knows_better else 0.0

    def right(label, labels) -> list[bool]:
        return [label == other for other in labels]

    known, sensed = (y, yr) if y is not None else ([0] * len(v), [0] * len(r))
    asked = mean([lesson(answer(t[i], r), answer(v[i], r), right(known[i], sensed)) for i in range(len(v))])
    found = mean([lesson(answer(r[j], t), answer(r[j], v), right(sensed[j], known)) for j in range(len(r))])
    return (asked + found) / 2


def members(rows: Rows, labels: Sequence[int], p: int) -> list[Row]:
    return [row for row, label in zip(rows, labels, strict=True) if label == p]


def hetero_triplet(v, r, y, yr, margin) -> float:
    v, r = unit(v), unit(r)
    centers = {("v", p): average(members(v, y, p)) for p in set(y)}
    centers |= {("r", p): average(members(r, yr, p)) for p in set(yr)}
    sides = []
    for own, other in (("v", "r"), ("r", "v")):
        losses = []
        for p in set(y) & set(yr):
            wrong = [distance(centers[own, p], c) for (_, q), c in centers.items() if q != p]
            if wrong:
                gap = distance(centers[own, p], centers[other, p])
                losses.append(max(0.0, margin + gap - min(wrong)))
        sides.append(mean(losses))
    return mean(sides)


def shared_enhancement(v, r, y, yr) -> float:
    v, r = unit(v), unit(r)
    sides = []
    for own, labels, other, other_labels in ((v, y, r, yr), (r, yr, v, y)):
        losses = []
        for i in range(len(own)):
            intra = [distance(own[i], own[j]) for j in range(len(own)) if j != i and labels[j] == labels[i]]
            cross = [distance(own[i], row) for row in members(other, other_labels, labels[i])]
            if intra and cross:
                losses.append((mean(cross) - mean(intra)) ** 2)
        sides.append(mean(losses))
    return mean(sides)


def discriminative(v, r, y, yr) -> float:
    rows, labels = [*unit(v), *unit(r)], [*y, *yr]
    centers = {p: average(members(rows, labels, p)) for p in set(labels)}
    own = mean([distance(row, centers[label]) for row, label in zip(rows, labels, strict=True)])
    apart = []
    for p, center_ in centers.items():
        foreign = [distance(row, center_) for row, label in zip(rows, labels, strict=True) if label != p]
        if foreign:
            near = [d for d in foreign if d < mean(foreign)]
            apart.append(mean(near or foreign))
    return own / max(mean(apart), 1e-6) if apart else 0.0


def center_pairs(v, t, r, y, yr, margin) -> float:
    v, t, r = unit(v), unit(t), unit(r)
    kinds = {"v": (v, y), "t": (t, y), "r": (r, yr)}
    losses = []
    for p in set(y) & set(yr):
        own = {kind: average(members(*rows, p)) for kind, rows in kinds.items()}
        pulled = distance(own["r"], own["t"])
        value = max(0.0, pulled - distance(own["v"], own["t"]) + margin)
        for kind in ("t", "v"):
            others = [distance(own[kind], average(members(*kinds[kind], q))) for q in set(y) - {p}]
            if others:
                value += max(0.0, pulled - min(others) + margin) / 2
        losses.append(value)
    return mean(losses)
