"""Shows the collector's totals to Prometheus.

Everything is read when Prometheus asks; nothing is counted twice. All labels come from closed lists: no call, sender or
worker is ever a label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector as Source

from trunkline.core.latency import STAGES
from trunkline.metrics.latency_collector import Collector

_HISTOGRAMS = {
    "roundtrip": "From the caller's first sound to the answer's first packet, at the agent.",
    "response": "From the caller's last sound to the answer's first packet, at the agent; negative ones count as 0.",
    "roundtrip_heard": "From the caller's first sound to the answer's first sound, at the caller's ear.",
    "response_heard": "From the caller's last sound to the answer's first sound, at the caller's ear.",
    "barge_in": "From the first sound of an interruption to the last packet of the answer, at the agent.",
    "saved": "What preparing an answer before its turn had ended saved.",
}


class Exporter(Source):
    """The metrics of one collector."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._totals = collector.totals
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def page(self, accept: str) -> tuple[bytes, str]:
        """What Prometheus reads, and its content type.

        Args:
            accept: The formats that are understood, as in HTTP's Accept.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """All metrics, as prometheus-client wants them."""
        self._collector.settle()
        yield from self._histograms()
        yield from self._counters()
        yield GaugeMetricFamily(
            "trunkline_events_lost", "Events that were sent and did not come; less when they come late.",
            value=self._collector.lost(),
        )  # fmt: skip
        yield from self._workers()

    def _histograms(self) -> Iterator[Metric]:
        for name, meaning in _HISTOGRAMS.items():
            whole = HistogramMetricFamily(f"trunkline_{name}_seconds", meaning, labels=())
            histogram = self._totals.durations[name]
            whole.add_metric((), histogram.cumulative(), histogram.sum_s)
            yield whole
        stages = HistogramMetricFamily(
            "trunkline_stage_seconds", "Time up to the mark of this name from the one before it.", labels=("stage",)
        )
        for stage in STAGES:
            histogram = self._totals.durations[f"stage:{stage}"]
            stages.add_metric((stage,), histogram.cumulative(), histogram.sum_s)
        yield stages

    def _counters(self) -> Iterator[Metric]:
        totals = self._totals
        calls = CounterMetricFamily("trunkline_calls", "Calls that ended.", labels=("result", "reason"))
        for (result, reason), count in totals.calls.items():
            calls.add_metric((result, reason), count)
        yield calls
        refusals = CounterMetricFamily(
            "trunkline_refusals", "Who was not let in by the orchestrator.", labels=("door", "reason")
        )
        for (door, reason), count in totals.refusals.items():
            refusals.add_metric((door, reason), count)
        yield refusals
        turns = CounterMetricFamily("trunkline_turns", "Turns that are over.", labels=("outcome",))
        for outcome, count in totals.turns.items():
            turns.add_metric((outcome,), count)
        yield turns
        yield CounterMetricFamily("trunkline_barge_ins", "Answers that callers interrupted.", value=totals.barge_ins)
        refused = CounterMetricFamily(
            "trunkline_events_refused", "Events that were not understood.", labels=("reason",)
        )
        for reason, count in sorted(totals.refused.items()):
            refused.add_metric((reason,), count)
        yield refused
        yield CounterMetricFamily("trunkline_events_accepted", "Events that were kept.", value=totals.accepted)
        yield CounterMetricFamily("trunkline_events_duplicate", "Events that came again.", value=totals.duplicates)
        yield CounterMetricFamily(
            "trunkline_records_dropped", "Turns and rows of CSV for which there was no room.",
            value=self._collector.dropped(),
        )  # fmt: skip

    def _workers(self) -> Iterator[Metric]:
        workers = self._collector.workers
        alive = workers.alive(self._collector.now())
        yield GaugeMetricFamily("trunkline_workers", "Workers that are alive.", value=len(alive))
        yield GaugeMetricFamily(
            "trunkline_calls_now", "Calls that the workers hold.", value=sum(each.calls for each in alive)
        )
        yield GaugeMetricFamily(
            "trunkline_calls_capacity", "Calls that the workers take, without those that drain.",
            value=sum(each.capacity for each in alive if not each.draining),
        )  # fmt: skip
        breakers = GaugeMetricFamily(
            "trunkline_provider_breakers", "Workers, by a speech provider and the state of its breaker.",
            labels=("provider", "state"),
        )  # fmt: skip
        for (provider, state), count in sorted(Counter(pair for w in alive for pair in w.providers.items()).items()):
            breakers.add_metric((provider, state), count)
        yield breakers
        lag = HistogramMetricFamily(
            "trunkline_loop_lag_seconds", "By how much an event loop was late, the worst of each second and worker.",
            labels=(),
        )  # fmt: skip
        lag.add_metric((), workers.loop_lag.cumulative(), workers.loop_lag.sum_s)
        yield lag
        missed = CounterMetricFamily(
            "trunkline_frame_deadlines_missed", "Ticks of 20 ms that came late to the media engine, or that it dropped "
            "because the worker was too slow to take them.", labels=("where",),
        )  # fmt: skip
        missed.add_metric(("engine",), workers.late_ticks)
        missed.add_metric(("worker",), workers.dropped_ticks)
        yield missed
