"""Retrieval by feature distance: galleries that are searched, and the metrics of a ranking."""

from mtrl.retrieval.filters import Filter
from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.match import Match
from mtrl.retrieval.metrics.ranking import RankMetrics, rank_features, rank_metrics

Where = Filter  # its earlier name

__all__ = ["Filter", "Gallery", "Match", "RankMetrics", "Where", "rank_features", "rank_metrics"]
