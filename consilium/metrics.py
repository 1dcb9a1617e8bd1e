"""Counters and histograms, in prometheus_client's multi-process mode, and what they say of drift.

PROMETHEUS_MULTIPROC_DIR must be set before prometheus_client is imported, so this module is imported by
the roles and not by the command line; docs/operations.md lists every metric and a test holds it equal.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from model_runtime.drift import SCORE, Change, Drift, change_of
from model_runtime.manifest import Manifest

HOOK_SECONDS = Histogram(
    "consilium_hook_seconds",
    "Time to answer a CDS Hooks call",
    ["service", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
TOKENS_REFUSED = Counter(
    "consilium_tokens_refused_total", "Callers of hooks that were not let in, by reason", ["issuer", "reason"]
)
CARDS_SUPPRESSED = Counter(
    "consilium_cards_suppressed_total", "Cards held back by alert hygiene", ["service", "reason"]
)
FEEDBACK_REPORTS = Counter("consilium_feedback_total", "Reports on cards that were new", ["service", "outcome"])
SHADOW_CALLS = Counter(
    "consilium_shadow_calls_total", "Calls of services in shadow mode by how they ended", ["service", "outcome"]
)
PREFETCH = Counter(
    "consilium_prefetch_total",
    "Prefetch keys by what was known in the end and who brought it",
    ["issuer", "service", "key", "state", "source"],
)
CIRCUIT_EVENTS = Counter(
    "consilium_circuit_events_total", "What circuits before services and EHRs did", ["kind", "name", "event"]
)
CIRCUIT_OPEN = Gauge(
    "consilium_circuit_open",
    "Web workers in which the circuit is open",
    ["kind", "name"],
    multiprocess_mode="livesum",
)
RESULT_CACHE = Counter("consilium_result_cache_total", "Answers used again or worked out", ["service", "event"])
HTTP_REQUESTS = Counter("consilium_http_requests_total", "HTTP requests by route and status", ["route", "status"])
INSTANCES = Counter(
    "consilium_dicom_instances_total",
    "C-STORE requests by caller and the status answered",
    ["calling_ae", "dimse_status"],
)
STORE_SECONDS = Histogram(
    "consilium_dicom_store_seconds",
    "From the last byte of an object to its answer, durable",
    ["calling_ae"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)
ASSOCIATIONS = Counter(
    "consilium_dicom_associations_total", "What became of associations, by caller", ["calling_ae", "outcome"]
)
ASSOCIATIONS_REFUSED = Counter(
    "consilium_dicom_refused_total", "DICOM connections and associations that were not let in", ["why"]
)
INSTANCE_BYTES = Counter("consilium_dicom_bytes_total", "Bytes of DICOM objects received", ["calling_ae"])
STUDY_SECONDS = Histogram(
    "consilium_study_quiet_to_result_seconds",
    "From a study being quiet to its results being visible",
    ["model"],
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300),
)
JOBS = Counter("consilium_jobs_total", "Study jobs finished, by state", ["model", "state"])
STEP_SECONDS = Histogram(
    "consilium_step_seconds",
    "Time of one step of a study job",
    ["step"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30),
)
HL7_MESSAGES = Counter(
    "consilium_hl7_messages_total", "HL7 v2 messages by kind and what became of them", ["kind", "outcome"]
)
HL7_SECONDS = Histogram(
    "consilium_hl7_seconds",
    "From the last byte of an HL7 v2 message to its acknowledgement, durable",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)
HL7_REFUSED = Counter("consilium_hl7_refused_total", "Peers of the HL7 v2 port that were not served", ["why"])
HL7_PEERS = Gauge(
    "consilium_hl7_peers", "Connections to the HL7 v2 port that are open", multiprocess_mode="livesum"
)
CODES_UNMAPPED = Counter(
    "consilium_codes_unmapped_total",
    "Results and orders that came in local codes alone, by their system",
    ["system"],
)
DELIVERIES = Counter(
    "consilium_deliveries_total", "C-STORE deliveries by destination and result", ["destination", "result"]
)
FHIR_DELIVERIES = Counter(
    "consilium_fhir_deliveries_total", "AI results sent to FHIR servers", ["destination", "result"]
)
NOTIFICATIONS = Counter(
    "consilium_notifications_total", "Messages to subscriptions by what came of them", ["result"]
)
NOTIFICATIONS_WAITING = Gauge(
    "consilium_notifications_waiting", "Events that are not delivered yet", multiprocess_mode="mostrecent"
)
OUTBOX_VERSIONS = Gauge(
    "consilium_outbox_versions",
    "Written versions of FHIR resources that no worker has looked at yet",
    multiprocess_mode="mostrecent",
)
SUBSCRIPTIONS = Gauge(
    "consilium_subscriptions", "Subscriptions by status", ["status"], multiprocess_mode="mostrecent"
)
BLOB_FREE_BYTES = Gauge(
    "consilium_blob_free_bytes", "Free space where new objects are written", multiprocess_mode="mostrecent"
)
OLDEST_QUEUED_SECONDS = Gauge(
    "consilium_oldest_queued_job_seconds",
    "Age of the oldest study job not finished",
    multiprocess_mode="mostrecent",
)

MODEL_INPUT = Counter(
    "consilium_model_input_total",
    "Cases by the bin of the model's reference that a feature's value fell into",
    ["model", "version", "feature", "bin"],
)
MODEL_SCORE = Counter(
    "consilium_model_score_total",
    "Cases by the bin of the model's reference that its score fell into",
    ["model", "version", "bin"],
)
MODEL_ANSWERS = Counter(
    "consilium_model_answers_total", "Cases by what was made of the score", ["model", "version", "answer"]
)

MODEL_DEVICE = Gauge(
    "consilium_model_device",
    "1 where this machine's worker runs the model on the device",
    ["model", "device"],
    multiprocess_mode="mostrecent",
)
MODEL_DEGRADED = Gauge(
    "consilium_model_degraded",
    "1 while the CPU answers for a GPU that is away",
    ["model"],
    multiprocess_mode="mostrecent",
)


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
            MODEL_SCORE.labels(manifest.name, manifest.version, place).inc()
        else:
            MODEL_INPUT.labels(manifest.name, manifest.version, feature, place).inc()

    def answered(manifest: Manifest, answer: str) -> None:
        MODEL_ANSWERS.labels(manifest.name, manifest.version, answer).inc()

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
        for family in summed.collect():  # type: ignore[no-untyped-call]
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
