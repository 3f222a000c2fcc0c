"""Metrics of a ranking (CMC, mAP, mINP) and re-ranking."""
