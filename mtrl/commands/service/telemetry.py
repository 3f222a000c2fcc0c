"""Metrics in Prometheus' form, and a log line in JSON for every request. Neither holds names, tokens or addresses."""

from __future__ import annotations

import datetime
import json
import sys
from typing import TextIO

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Telemetry:
    """Counts requests, images and batches. `log` gets a line per request; None: no lines."""

    def __init__(self, log: TextIO | None = sys.stderr) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.log = log
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "mtrl_requests", "requests by route and status", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "mtrl_request_seconds", "time of requests", ("route",), buckets=_SECONDS, registry=self.registry
        )
        self._images = Counter("mtrl_images", "images encoded", registry=self.registry)
        self._batches = Histogram(
            "mtrl_batch_images", "images of a batch", buckets=_SIZES, registry=self.registry
        )
        self.entries = Gauge("mtrl_entries", "entries of the index", registry=self.registry)

    def batch(self, size: int) -> None:
        self._images.inc(size)
        self._batches.observe(size)

    def request(self, method: str, route: str, status: int, seconds: float, received: int) -> None:
        """`route` is the pattern of a known address, or "other": what was asked for else may name somebody."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if self.log is not None:
            line = {
                "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
                "method": method,
                "route": route,
                "status": status,
                "ms": round(1000 * seconds, 1),
                "bytes": received,
            }
            print(json.dumps(line), file=self.log, flush=True)

    def text(self) -> bytes:
        """All metrics, as Prometheus reads them."""
        from prometheus_client import generate_latest

        return bytes(generate_latest(self.registry))
