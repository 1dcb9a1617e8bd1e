"""Counters and histograms, in prometheus_client's multi-process mode.

PROMETHEUS_MULTIPROC_DIR must be set before prometheus_client is imported, so this module is imported by
the roles and not by the command line; docs/operations.md lists every metric and a test holds it equal.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

HOOK_SECONDS = Histogram(
    "consilium_hook_seconds",
    "Time to answer a CDS Hooks call",
    ["service", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
HTTP_REQUESTS = Counter("consilium_http_requests_total", "HTTP requests by route and status", ["route", "status"])
INSTANCES = Counter("consilium_dicom_instances_total", "C-STORE requests by the status answered", ["dimse_status"])
INSTANCE_BYTES = Counter("consilium_dicom_bytes_total", "Bytes of DICOM objects taken")
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
DELIVERIES = Counter(
    "consilium_deliveries_total", "C-STORE deliveries by destination and result", ["destination", "result"]
)
BLOB_FREE_BYTES = Gauge(
    "consilium_blob_free_bytes", "Free space where new objects are written", multiprocess_mode="mostrecent"
)
OLDEST_QUEUED_SECONDS = Gauge(
    "consilium_oldest_queued_job_seconds",
    "Age of the oldest study job not finished",
    multiprocess_mode="mostrecent",
)


def exposition() -> bytes:
    """Return the text format over all processes that share PROMETHEUS_MULTIPROC_DIR."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
