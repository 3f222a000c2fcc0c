"""Ranking by feature distance: galleries to search in, and the metrics that a ranking is judged by."""

from mtrl.retrieval.filters import Where
from mtrl.retrieval.gallery import Gallery, Match
from mtrl.retrieval.ranking import RankMetrics, rank_features, rank_metrics

__all__ = ["Gallery", "Match", "RankMetrics", "Where", "rank_features", "rank_metrics"]
