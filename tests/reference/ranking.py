"""The retrieval metrics as a loop over queries and gallery images that follows their definitions word by word."""

from __future__ import annotations

LOCATION = {1: 1, 2: 2, 3: 2, 4: 4, 5: 5, 6: 6}


def loop_reference(distances, query_ids, gallery_ids, query_cameras, gallery_cameras, protocol, level):
    """(cmc, mAP, mINP, ap per query), or None when no query has a right image."""
    aps, inps, firsts, per_query, askers = [], [], [], [], []
    for q in range(len(query_ids)):
        kept = []
        for g in sorted(range(len(gallery_ids)), key=lambda j: (distances[q][j], j)):
            skip = False
            if query_cameras is not None and protocol == "sysu":
                skip = LOCATION[query_cameras[q]] == LOCATION[gallery_cameras[g]]
            elif query_cameras is not None and protocol == "llcm":
                skip = query_ids[q] == gallery_ids[g] and query_cameras[q] == gallery_cameras[g]
            elif query_cameras is not None and protocol == "clip":
                skip = query_cameras[q] != gallery_cameras[g]
            if not skip:
                kept.append(gallery_ids[g])
        right = [rank for rank, identity in enumerate(kept, 1) if identity == query_ids[q]]
        if not right:
            per_query.append(float("nan"))
            continue
        aps.append(sum(k / p for k, p in enumerate(right, 1)) / len(right))
        inps.append(len(right) / right[-1])
        per_query.append(aps[-1])
        askers.append(query_ids[q])
        seen = []
        for identity in kept:
            if identity not in seen:
                seen.append(identity)
        firsts.append(seen.index(query_ids[q]) + 1 if level == "identity" else right[0])
    if not aps:
        return None
    length = max(20, len(set(gallery_ids)) if level == "identity" else len(gallery_ids))
    groups = (
        [[i] for i in set(askers)] if protocol == "clip" else [list(set(askers))]
    )  # people by themselves, or all

    def mean(values):
        each = [[v for v, asker in zip(values, askers, strict=True) if asker in group] for group in groups]
        return sum(sum(part) / len(part) for part in each) / len(each)

    cmc = [mean([first <= rank for first in firsts]) for rank in range(1, length + 1)]
    return cmc, mean(aps), mean(inps), per_query
