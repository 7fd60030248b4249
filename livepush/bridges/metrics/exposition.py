"""Metrics as ``prometheus_client`` collects them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from livepush.bridges.metrics import gathering, sharing
from livepush.bridges.metrics.catalog import COUNTER, HISTOGRAM, METRICS, SHARED
from livepush.tallies import Times


class LivepushCollector:
    """Collects livepush's metrics: of all processes, or only of this one.

    Register it with a registry of ``prometheus_client`` if the site exposes one of its own.
    """

    def __init__(self, only_own: bool = False) -> None:
        self._only_own = only_own

    def describe(self) -> list[Metric]:
        """Return nothing, so that to register the collector asks no database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with the samples of all processes. Raises the database's errors."""
        processes = {} if self._only_own else sharing.others()
        processes[gathering.process_name()] = gathering.own_figures()
        samples: dict[str, list[tuple[list[str], object]]] = {}
        for process, figures in processes.items():
            for name, labels, value in figures:
                if name in METRICS:  # a process of another version may have others
                    samples.setdefault(name, []).append(([*labels, process], value))
        for name, labels, value in gathering.log_figures():
            samples.setdefault(name, []).append(([*labels], value))
        yield from (_family(name, found) for name, found in sorted(samples.items()))


def encoded(accept: str) -> tuple[bytes, str]:
    """Return all metrics in the format that a client accepts, and its media type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LivepushCollector())
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


def _family(name: str, samples: Iterable[tuple[list[str], object]]) -> Metric:
    kind, labels, help = METRICS[name]
    names = [*labels, *([] if name in SHARED else ["process"])]
    if kind == HISTOGRAM:
        family = HistogramMetricFamily(name, help, labels=names)
        for values, figure in samples:
            buckets, total = _buckets(figure)  # type: ignore[arg-type]
            family.add_metric(values, buckets, total)
        return family
    plain = (CounterMetricFamily if kind == COUNTER else GaugeMetricFamily)(name, help, labels=names)
    for values, figure in samples:
        plain.add_metric(values, figure)  # type: ignore[arg-type]
    return plain


def _buckets(figure: list[float]) -> tuple[list[tuple[str, float]], float]:
    """Return a histogram's buckets, each with all that took at most so long, and the sum."""
    *counts, total = figure
    bounds = [*(f"{bound:g}" for bound in Times.BOUNDS), "+Inf"]
    return [(bound, sum(counts[: place + 1])) for place, bound in enumerate(bounds)], total
