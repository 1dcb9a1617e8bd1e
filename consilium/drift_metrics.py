"""What the counters say of drift, and the text that a scrape gets: for who runs models, or answers the scrape.

It needs numpy, which the process that receives images does not have: so it is no part of metrics.py.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consilium import metrics
from consilium.metric_files import reading, written
from model_runtime.drift import SCORE, Change, Drift, change_of
from model_runtime.manifest import Manifest


@dataclass(frozen=True, slots=True)
class AtScrape:
    """A gauge that is worked out from the counters of all processes when somebody asks."""

    name: str
    help: str
    labels: tuple[str, ...]
    value: Callable[[Change], float | None]

    def family(self) -> GaugeMetricFamily:
        """Return it without values."""
        return GaugeMetricFamily(self.name, self.help, labels=self.labels)


OF_A_FEATURE, OF_A_SCORE = ("model", "version", "feature"), ("model", "version")
INPUT_PSI = AtScrape(
    "consilium_model_input_psi",
    "Population stability index of a feature against training, since start; from 200 cases on",
    OF_A_FEATURE,
    lambda change: change.psi,
)
INPUT_MISSING = AtScrape(
    "consilium_model_input_missing_ratio",
    "Share of cases without a value of the feature, since start",
    OF_A_FEATURE,
    lambda change: change.missing,
)
SCORE_PSI = AtScrape(
    "consilium_model_score_psi",
    "Population stability index of the score against training, since start; from 200 cases on",
    OF_A_SCORE,
    lambda change: change.psi,
)
AT_SCRAPE = (INPUT_PSI, INPUT_MISSING, SCORE_PSI)


def drift_observer() -> Drift:
    """Return who counts cases into MODEL_INPUT, MODEL_SCORE and MODEL_ANSWERS."""

    def count(manifest: Manifest, feature: str, place: str) -> None:
        if feature == SCORE:
            metrics.MODEL_SCORE.labels(manifest.name, manifest.version, place).inc()
        else:
            metrics.MODEL_INPUT.labels(manifest.name, manifest.version, feature, place).inc()

    def answered(manifest: Manifest, answer: str) -> None:
        metrics.MODEL_ANSWERS.labels(manifest.name, manifest.version, answer).inc()

    return Drift(count, answered)


def exposition(manifests: Iterable[Manifest] = ()) -> bytes:
    """Return the text format over all processes that share PROMETHEUS_MULTIPROC_DIR.

    manifests: of the models whose drift is told.
    """
    registry = CollectorRegistry()
    registry.register(_Scrape(tuple(manifests)))
    return generate_latest(registry)


class _Scrape(Collector):
    """All processes' metrics, summed, and the gauges that only the sums can say: no process sees all cases."""

    def __init__(self, manifests: tuple[Manifest, ...]) -> None:
        self._manifests = manifests

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        counts: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
        summed = multiprocess.MultiProcessCollector(None)  # type: ignore[no-untyped-call]
        folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        with reading(folder):
            families = list(summed.merge(written(folder)))  # type: ignore[no-untyped-call]
        for family in families:
            for sample in family.samples:
                if sample.name in {"consilium_model_input_total", "consilium_model_score_total"}:
                    labels = sample.labels
                    feature = labels.get("feature", SCORE)
                    counts[labels["model"], labels["version"], feature][labels["bin"]] = sample.value
            yield family
        yield from self._drift(counts)

    def _drift(self, counts: dict[tuple[str, str, str], dict[str, float]]) -> Iterator[Metric]:
        families = {gauge: gauge.family() for gauge in AT_SCRAPE}
        for manifest in self._manifests:
            histograms = dict(manifest.reference.features)
            if manifest.reference.score is not None:
                histograms[SCORE] = manifest.reference.score
            for feature, histogram in histograms.items():
                change = change_of(histogram, counts[manifest.name, manifest.version, feature])
                if change is not None:
                    _add(families, [manifest.name, manifest.version], feature, change)
        yield from families.values()


def _add(families: dict[AtScrape, GaugeMetricFamily], model: list[str], feature: str, change: Change) -> None:
    wanted, labels = (OF_A_SCORE, model) if feature == SCORE else (OF_A_FEATURE, [*model, feature])
    for gauge, family in families.items():
        value = gauge.value(change)
        if gauge.labels == wanted and value is not None:
            family.add_metric(labels, value)
