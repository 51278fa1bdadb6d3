"""What the service tells Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import Scope

# From an answer out of memory to the longest that one may take.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# A client that went away before it was answered, as nginx writes it.
_NO_ANSWER = 499


class Metrics:
    """The counts of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "completelook_web_requests",
            "Requests answered.",
            ("route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "completelook_web_seconds",
            "Seconds from a request's first byte to its answer's last.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.under_way = Gauge(
            "completelook_web_under_way", "Questions being answered.", registry=self.registry
        )
        self.inferences = Counter(
            "completelook_web_inferences", "Scenes that the model embedded.", registry=self.registry
        )
        self.scenes = Counter(
            "completelook_web_scenes",
            "Scenes that questions were about, by where they came from.",
            ("source",),
            registry=self.registry,
        )

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Take note of a request by its route: paths that strangers think of are endless."""
        route = getattr(scope.get("route"), "path", "none")
        self._requests.labels(route, status or _NO_ANSWER).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self.registry)
