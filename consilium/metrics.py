"""Counters and histograms, in prometheus_client's multi-process mode. What they say of drift: drift_metrics.py.

PROMETHEUS_MULTIPROC_DIR must be set before prometheus_client is imported, so this module is imported by
the roles and not by the command line; docs/operations.md lists every metric and a test holds it equal.
"""

from prometheus_client import Counter, Gauge, Histogram

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
SHADOW_STUDIES = Gauge(
    "consilium_shadow_studies",
    "Studies that a model has taken in shadow or a replay, by state",
    ["model", "version", "state"],
    multiprocess_mode="mostrecent",
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
RECEIVERS = Gauge(
    "consilium_dicom_receivers",
    "Processes that are ready to receive for the one that listens",
    multiprocess_mode="mostrecent",
)
RECEIVERS_DIED = Counter(
    "consilium_dicom_receivers_died_total", "Receiving processes that died and were not told to, by how", ["how"]
)
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
WORKITEMS = Counter(
    "consilium_workitems_total",
    "Steps of worklists elsewhere by the state that they came to",
    ["worklist", "state"],
)
WORKITEMS_WAITING = Gauge(
    "consilium_workitems_waiting",
    "Steps of worklists elsewhere that are not at their end, or were given up",
    ["worklist", "state"],
    multiprocess_mode="mostrecent",
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
QUARANTINE_OBJECTS = Gauge(
    "consilium_dicom_quarantine_objects",
    "Objects in quarantine because they are malformed",
    multiprocess_mode="mostrecent",
)
QUARANTINE_BYTES = Gauge(
    "consilium_dicom_quarantine_bytes", "Bytes of the objects in quarantine", multiprocess_mode="mostrecent"
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
