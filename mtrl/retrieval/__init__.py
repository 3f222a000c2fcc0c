"""Ranking by feature distance: galleries to search in, and the metrics that a ranking is judged by."""

from mtrl.retrieval.ranking import RankMetrics, rank_metrics

__all__ = ["RankMetrics", "rank_metrics"]
