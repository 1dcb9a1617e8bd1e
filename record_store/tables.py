"""The tables, once, for both databases. Alembic's migrations create them; a test holds the two equal.

Times are UTC ISO 8601 text with microseconds and a trailing Z: they sort as they read, and SQLite and
PostgreSQL answer the same. Bodies are bytes: what was written is what is served.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

_auto = BigInteger().with_variant(Integer, "sqlite")  # SQLite autoincrements INTEGER only

# ---------------------------------------------------------------- FHIR resources
# patient, code, date_lo are the hot columns of "this patient, this code, newest first".
resource = Table(
    "resource",
    metadata,
    Column("type", String(64), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("updated", String(32), nullable=False),
    Column("deleted", Integer, nullable=False, server_default="0"),
    Column("patient", String(64)),
    Column("code", String(256)),
    Column("date_lo", String(32)),
    Column("body", LargeBinary, nullable=False),
    Column("method", String(8), nullable=False, server_default=text("''")),  # "": from before it was kept
    # Which table of parameters its index rows were made by (resources.INDEX_VERSION); 0: the first one.
    Column("indexed", Integer, nullable=False, server_default=text("0")),
    Index("resource_updated", "type", "updated", "id"),
    Index("resource_hot", "type", "patient", "code", "date_lo", "id"),
    # Of the resources that are still to be indexed again, and empty otherwise: it costs a write nothing.
    Index("resource_stale", "type", "id", sqlite_where=text("indexed < 1"), postgresql_where=text("indexed < 1")),
)

resource_history = Table(
    "resource_history",
    metadata,
    Column("type", String(64), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("updated", String(32), nullable=False),
    Column("deleted", Integer, nullable=False, server_default="0"),
    Column("body", LargeBinary, nullable=False),
    Column("method", String(8), nullable=False, server_default=text("''")),
    Index("resource_history_updated", "type", "updated", "id"),
)

# A row for each written version, until whom it concerns is known (record_store/outbox.py).
outbox = Table(
    "outbox",
    metadata,
    Column("position", _auto, primary_key=True, autoincrement=True),
    Column("type", String(64), nullable=False),
    Column("id", String(64), nullable=False),
    Column("version", Integer, nullable=False),
)

# What a Subscription asks for, beside its resource (record_store/subscriptions.py). wanted: what a client has
# written since, until the worker comes to it in the outbox. headers stand here and in no resource.
subscription = Table(
    "subscription",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("version", Integer, nullable=False),  # of the resource that `asked` is from
    Column("status", String(16), nullable=False),  # new, requested, active, error, off, removed
    Column("problem", Text),
    Column("asked", Text, nullable=False, server_default="{}"),  # JSON
    Column("headers", Text, nullable=False, server_default="[]"),  # JSON list of [name, value]; secret
    Column("wanted_version", Integer),
    Column("wanted", Text),
    Column("events", BigInteger, nullable=False, server_default="0"),  # number of the last one
    Column("failures", Integer, nullable=False, server_default="0"),  # of the endpoint, in a row
    Column("due_at", String(32), nullable=False),  # nothing is sent before
    Column("heartbeat_at", String(32)),
    Column("leased_by", String(64), nullable=False, server_default=text("''")),
    Column("leased_until", String(32), nullable=False, server_default=text("''")),
    Column("updated_at", String(32), nullable=False),
    Column("ends_at", String(32)),  # of `asked`
    Index("subscription_ends", "ends_at"),
    Index("subscription_status", "status", "updated_at"),
)

# One event for one subscription: a version that it asked for, until the endpoint has taken it, and a while longer.
notification = Table(
    "notification",
    metadata,
    Column("subscription", String(64), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("type", String(64), nullable=False),
    Column("id", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("deleted", Integer, nullable=False, server_default="0"),
    Column("state", String(16), nullable=False),  # pending, sent, withheld
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_attempt_at", String(32), nullable=False),
    Column("last_status", Integer),  # HTTP status of the last answer
    Column("last_problem", Text),
    Column("at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
    Index("notification_state", "subscription", "state", "number"),
    Index("notification_resource", "subscription", "type", "id", "number"),
    Index("notification_done", "state", "updated_at"),
)


def _index_table(name: str, *columns: Column[object], index: tuple[str, ...]) -> Table:
    return Table(
        name,
        metadata,
        Column("row", _auto, primary_key=True, autoincrement=True),
        Column("type", String(64), nullable=False),
        Column("id", String(64), nullable=False),
        Column("param", String(64), nullable=False),
        # Which of the elements that a composite joins over: 0 the resource itself, 1 its first component.
        Column("part", Integer, nullable=False, server_default=text("0")),
        *columns,
        # No foreign key: on PostgreSQL it is four fifths of what a row costs, and only `index_rows` writes here.
        Index(f"{name}_value", "type", "param", *index, "id"),
        Index(f"{name}_owner", "type", "id"),
    )


sp_token = _index_table(
    "sp_token",
    Column("system", String(512), nullable=False),  # "" when the token has no system
    Column("code", String(512), nullable=False),
    Column("text", String(512), nullable=False, server_default=text("''")),  # normalised: what :text searches
    index=("code", "system"),
)
sp_string = _index_table(
    "sp_string",
    Column("value", String(512), nullable=False),
    Column("exact", String(512), nullable=False, server_default=text("''")),  # as it was sent: what :exact asks
    index=("value",),
)
sp_date = _index_table(
    "sp_date",
    Column("lo", String(32), nullable=False),
    Column("hi", String(32), nullable=False),
    index=("lo", "hi"),
)
sp_reference = _index_table(
    "sp_reference",
    Column("target_type", String(64), nullable=False),  # "" when the reference is not typed
    Column("target_id", String(512), nullable=False),  # an id, or the whole URL when it is not local
    index=("target_id", "target_type"),
)
# Bounds are what the value can be: "<5" is -Infinity to 5. canon_*: in base units of UCUM, and "" with the same
# bounds where there is no such unit (a number among them).
sp_quantity = _index_table(
    "sp_quantity",
    Column("lo", Float(53), nullable=False),
    Column("hi", Float(53), nullable=False),
    Column("system", String(512), nullable=False),
    Column("code", String(512), nullable=False),
    Column("unit", String(512), nullable=False),  # as people read it
    Column("canon_lo", Float(53), nullable=False),
    Column("canon_hi", Float(53), nullable=False),
    Column("canon_unit", String(512), nullable=False),
    index=("canon_unit", "canon_lo", "canon_hi"),
)
sp_uri = _index_table("sp_uri", Column("value", String(512), nullable=False), index=("value",))

# Files that were imported, by what they hold, so that an import goes on where it ended. target: "" is this store.
fhir_import = Table(
    "fhir_import",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("target", String(512), primary_key=True),
    Column("done", BigInteger, nullable=False),  # resources of the file that are done with
    Column("refused", BigInteger, nullable=False),
    Column("updated_at", String(32), nullable=False),
    Column("finished_at", String(32)),
)

# AI results on their way to other FHIR servers; a later version of one takes the row of the version before.
fhir_delivery = Table(
    "fhir_delivery",
    metadata,
    Column("type", String(64), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("destination", String(64), primary_key=True),
    Column("version", Integer, nullable=False),  # to be there
    Column("state", String(16), nullable=False),  # pending, sent, dead
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", String(32), nullable=False),
    Column("last_status", Integer),  # HTTP, NULL when there was no answer
    Column("last_problem", Text),
    Column("updated_at", String(32), nullable=False),
    Column("sent_version", Integer),  # that is there
    Column("remote_id", String(64)),
    Column("remote_etag", String(128)),
    Index("fhir_delivery_due", "state", "next_attempt_at"),
)

# ---------------------------------------------------------------- DICOM objects received
instance = Table(
    "instance",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("sop_class_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("series_uid", String(64), nullable=False),
    Column("modality", String(16), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("calling_ae", String(16), nullable=False),
    Column("called_ae", String(16), nullable=False),
    Column("received_at", String(32), nullable=False),
    Column("fetched", Integer, nullable=False, server_default="0"),  # see record_store.also_sent
    Index("instance_study", "study_uid", "series_uid"),
)

# The study row is the outbox: the SCP writes it, the worker closes it and enqueues its jobs.
study = Table(
    "study",
    metadata,
    Column("study_uid", String(64), primary_key=True),
    Column("patient_system", String(512)),
    Column("patient_value", String(256)),
    Column("state", String(16), nullable=False),  # open, closed, held
    Column("revision", Integer, nullable=False),
    Column("instances", Integer, nullable=False),
    Column("last_received_at", String(32), nullable=False),
    Column("hold_reason", Text),
    Index("study_quiet", "state", "last_received_at"),
    Index("study_patient", "patient_system", "patient_value"),
)

# What is known of a study's completeness besides its objects. A time is that of the newest such event.
study_evidence = Table(
    "study_evidence",
    metadata,
    Column("study_uid", String(64), primary_key=True),
    Column("released_at", String(32)),  # the last association that brought objects of it was released properly
    Column("broken_at", String(32)),  # one that brought objects of it was aborted, or its connection ended
    Column("objects", Integer),  # Number of Study Related Instances (0020,1208), less what is ours
    Column("counted_at", String(32)),  # when the question was put that `objects` or `count_problem` answers
    Column("count_problem", Text),  # why the archive did not say; NULL when it did
    Column("asked_at", String(32)),  # when it was asked last: whoever writes this asks
)

# A list of objects that a study has, by somebody's word: an instance availability notification (PS3.4 R), a
# modality performed procedure step (PS3.4 F.7). One row a study that it speaks of.
announcement = Table(
    "announcement",
    metadata,
    Column("announcement_uid", String(64), primary_key=True),  # its SOP Instance UID
    Column("study_uid", String(64), primary_key=True),
    Column("kind", String(8), nullable=False),  # IAN, MPPS
    Column("state", String(16), nullable=False),  # in progress, completed, discontinued
    Column("said_by", String(16), nullable=False),  # AE title
    Column("at", String(32), nullable=False),
    Index("announcement_study", "study_uid"),
)

announced_instance = Table(
    "announced_instance",
    metadata,
    Column("announcement_uid", String(64), primary_key=True),
    Column("sop_instance_uid", String(64), primary_key=True),
)


# ---------------------------------------------------------------- what the objects' headers say
# For searches (QIDO-RS, C-FIND); written after the objects (record_store.header_index) and made anew from them.
# Patients' names and numbers stand here in clear, as in the objects. Columns are keywords of PS3.6, values decoded
# text, several joined by a backslash. `row`: the order in which a search goes through them, newest first.
def _said(*names: str) -> list[Column[str]]:
    return [Column(name, Text, nullable=False) for name in names]


# received: how many of the study's instances are counted in; senders: AE titles that sent any of them.
study_header = Table(
    "study_header",
    metadata,
    Column("row", _auto, primary_key=True, autoincrement=True),
    Column("study_uid", String(64), nullable=False, unique=True),
    *_said("patient_name", "patient_id", "issuer_of_patient_id", "patient_birth_date", "patient_sex"),
    *_said("study_date", "study_time", "accession_number", "referring_physician_name", "study_description"),
    *_said("study_id", "modalities_in_study", "sop_classes_in_study", "senders"),
    Column("number_of_series", Integer, nullable=False, server_default="0"),
    Column("number_of_instances", Integer, nullable=False, server_default="0"),
    Column("received", Integer, nullable=False, server_default="0"),
    Index("study_header_patient", "patient_id"),
    Index("study_header_accession", "accession_number"),
    Index("study_header_date", "study_date"),
)

series_header = Table(
    "series_header",
    metadata,
    Column("row", _auto, primary_key=True, autoincrement=True),
    Column("study_uid", String(64), nullable=False),
    Column("series_uid", String(64), nullable=False),
    *_said("modality", "series_number", "series_description", "series_date", "series_time", "body_part_examined"),
    *_said("laterality", "manufacturer", "station_name", "protocol_name"),
    *_said("performed_procedure_step_start_date", "performed_procedure_step_start_time"),
    Column("number_of_instances", Integer, nullable=False, server_default="0"),
    UniqueConstraint("study_uid", "series_uid", name="series_header_once"),
    Index("series_header_uid", "series_uid"),
)

instance_header = Table(
    "instance_header",
    metadata,
    Column("row", _auto, primary_key=True, autoincrement=True),
    Column("sop_instance_uid", String(64), nullable=False, unique=True),
    Column("study_uid", String(64), nullable=False),
    Column("series_uid", String(64), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    *_said("instance_number", "number_of_frames", "rows", "columns", "bits_allocated", "content_date"),
    *_said("content_time", "image_laterality"),
    Index("instance_header_series", "study_uid", "series_uid"),
)

# Earlier studies of a patient that an archive was asked for. The row whose prior_uid is "" is the question itself.
prior = Table(
    "prior",
    metadata,
    Column("study_uid", String(64), primary_key=True),
    Column("prior_uid", String(64), primary_key=True),
    Column("archive", String(64), nullable=False),
    Column("rule", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # asking, asked, failed; or wanted, fetching, fetched, failed
    Column("problem", Text),
    Column("objects", Integer, nullable=False, server_default="0"),  # found by the question; fetched of the prior
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("at", String(32), nullable=False),
    Index("prior_uid", "prior_uid"),
    Index("prior_state", "state", "at"),
)

# What the worklist says was ordered of a study.
study_order = Table(
    "study_order",
    metadata,
    Column("study_uid", String(64), primary_key=True),
    Column("state", String(16), nullable=False),  # asking, asked, failed
    Column("problem", Text),
    Column("orders", Integer, nullable=False, server_default="0"),
    Column("side", String(1), nullable=False),  # L, R, B, or none
    Column("stranger", Integer, nullable=False, server_default="0"),  # 1: it was ordered for another patient
    Column("at", String(32), nullable=False),
    Column("several", Integer, nullable=False, server_default="0"),  # 1: for different patients under one number
    *(
        Column(name, Text, nullable=False, server_default=text("''"))
        for name in ("found_by", "accession_number", "accession_system", "kept")
    ),
)

# ---------------------------------------------------------------- jobs and what they made
# job_key = sha256(study uid, content digest, model, version): a second enqueue is a no-op.
study_job = Table(
    "study_job",
    metadata,
    Column("job_key", String(64), primary_key=True),
    Column("study_uid", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("content_digest", String(64), nullable=False),
    Column("model", String(64), nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # queued, done, failed
    Column("reason", Text),
    Column("created_at", String(32), nullable=False),
    Column("finished_at", String(32)),
    Index("study_job_study", "study_uid"),
    Index("study_job_state", "state", "created_at"),
)

# One row an image read: body is the Reading as JSON, mask_sha256 its label image among the blobs.
reading = Table(
    "reading",
    metadata,
    Column("reading_id", String(64), primary_key=True),
    Column("job_key", String(64), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("patient_system", String(512)),
    Column("patient_value", String(256)),
    Column("model", String(64), nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("findings", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("mask_sha256", String(64), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("recalled_at", String(32)),  # its model was recalled then
    Index("reading_patient", "patient_system", "patient_value", "created_at"),
    Index("reading_job", "job_key"),
)

result_object = Table(
    "result_object",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("job_key", String(64), nullable=False),
    Column("kind", String(16), nullable=False),  # a name of dicom_node.results.ENCODERS
    Column("sop_class_uid", String(64), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", String(32), nullable=False),
    Index("result_object_job", "job_key"),
    Index("result_object_created", "created_at"),
)

# Per-instance, per-destination state of sending a result back (C-STORE).
delivery = Table(
    "delivery",
    metadata,
    Column("delivery_id", _auto, primary_key=True, autoincrement=True),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("destination", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # pending, sent, dead, superseded
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", String(32), nullable=False),
    Column("last_status", Integer),  # DIMSE status of the last answer, NULL when there was none
    Column("last_problem", Text),
    Column("updated_at", String(32), nullable=False),
    Column("commitment", String(16)),  # wanted, asked, committed, unconfirmed; NULL when nobody is asked
    Column("commitment_uid", String(64)),  # Transaction UID of the last question
    Column("commitment_asks", Integer, nullable=False, server_default="0"),
    Column("commitment_due_at", String(32)),  # when to ask, or to ask again
    UniqueConstraint("sop_instance_uid", "destination", name="delivery_once"),
    Index("delivery_due", "state", "next_attempt_at"),
    Index("delivery_commitment", "commitment", "commitment_due_at"),
)

# Questions of senders whether we keep what we took (storage commitment), until they are answered.
commitment_request = Table(
    "commitment_request",
    metadata,
    Column("calling_ae", String(16), primary_key=True),
    Column("transaction_uid", String(64), primary_key=True),
    Column("objects", Text, nullable=False),  # JSON list of [SOP class UID, SOP instance UID]
    Column("state", String(16), nullable=False),  # pending, reported, dead
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", String(32), nullable=False),
    Column("last_problem", Text),
    Column("updated_at", String(32), nullable=False),
    Index("commitment_request_due", "state", "next_attempt_at"),
)

# ---------------------------------------------------------------- what models said that nobody is shown
# Models that read beside the live ones, or over what is stored (record_store/shadows.py). Tables of their own: who
# asks for readings, results, deliveries or resources cannot meet them. since: when it began to read what arrives.
shadow_model = Table(
    "shadow_model",
    metadata,
    Column("model", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("since", String(32)),
)

# A study and a model version are one row, however often it is asked for. left_out, failures: JSON, reason ->
# how many images.
shadow_study = Table(
    "shadow_study",
    metadata,
    Column("model", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("study_uid", String(64), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("state", String(16), nullable=False),  # reading, done, failed
    Column("attempts", Integer, nullable=False),
    Column("owner", String(64), nullable=False),
    Column("leased_until", String(32), nullable=False),
    Column("images", Integer, nullable=False),
    Column("left_out", Text, nullable=False),
    Column("failures", Text, nullable=False),
    Column("settled_at", String(32), nullable=False),
    Index("shadow_study_uid", "study_uid"),
    Index("shadow_study_state", "state", "model", "version"),
)

# body: the Reading as JSON; mask: its label image, packed. seconds: what the model and the measuring took.
shadow_reading = Table(
    "shadow_reading",
    metadata,
    Column("reading_id", String(64), primary_key=True),
    Column("model", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("modality", String(16), nullable=False),
    Column("manufacturer", String(64), nullable=False),
    Column("sex", String(8), nullable=False),
    Column("age_band", String(16), nullable=False),
    Column("findings", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("mask", LargeBinary, nullable=False),
    Column("created_at", String(32), nullable=False),
    Index("shadow_reading_model", "model", "version", "study_uid"),
)

# Workers that run jobs. A silent one's jobs are taken over.
executor = Table(
    "executor",
    metadata,
    Column("executor_id", String(64), primary_key=True),
    Column("beat_at", Float, nullable=False),  # seconds since the epoch, by the database's clock
)

# How often a job's present step was begun without an end: a job that kills its worker is parked.
job_start = Table(
    "job_start",
    metadata,
    Column("job_key", String(64), primary_key=True),
    Column("step", String(32), nullable=False),
    Column("starts", Integer, nullable=False),
)

# ---------------------------------------------------------------- who calls the hooks
# token_key = sha256 of issuer and jti. Kept until nobody takes the token any more.
seen_token = Table(
    "seen_token",
    metadata,
    Column("token_key", String(64), primary_key=True),
    Column("expires_at", String(32), nullable=False),
    Index("seen_token_expiry", "expires_at"),
)

# Access tokens that were called back, by their id, until they would have expired.
revoked_token = Table(
    "revoked_token",
    metadata,
    Column("token_id", String(64), primary_key=True),
    Column("expires_at", String(32), nullable=False),
)

# ---------------------------------------------------------------- cards, and what became of them
# A patient or user stands here as a digest under a key of ours, never as an id. shadow: 1 when nobody saw it.
sent_card = Table(
    "sent_card",
    metadata,
    Column("card", String(36), primary_key=True),
    Column("sent_at", String(32), nullable=False),
    Column("service", String(64), nullable=False),
    Column("hook", String(128), nullable=False),
    Column("hook_instance", String(36), nullable=False),
    Column("issuer", String(512), nullable=False),
    Column("client", String(128), nullable=False),
    Column("patient_key", String(64), nullable=False),
    Column("user_key", String(64)),
    Column("indicator", String(16), nullable=False),
    Column("model", String(64)),
    Column("model_version", String(64)),
    Column("model_digest", String(64)),
    Column("threshold", Float),
    Column("probability", Float),
    Column("score_bin", Integer),  # twentieths of the probability, so that both databases group alike
    Column("outcome_code", String(512)),  # system|code of what the probability is of
    Column("finding_key", String(128)),
    Column("input_hash", String(64)),
    Column("suggestions", Text, nullable=False, server_default="[]"),  # JSON list of their UUIDs
    Column("shadow", Integer, nullable=False, server_default="0"),
    Column("replaces", String(36)),  # the card of an earlier hook that this one stands for now
    Index("sent_card_patient", "patient_key", "sent_at"),
    Index("sent_card_user", "user_key", "sent_at"),
    Index("sent_card_time", "sent_at"),
)

# One row a report; the same report again is the same content and no second row.
feedback = Table(
    "feedback",
    metadata,
    Column("row", _auto, primary_key=True, autoincrement=True),
    Column("card", String(36), nullable=False),
    Column("content", String(64), nullable=False),  # sha256 of what was reported
    Column("outcome", String(16), nullable=False),  # accepted, overridden
    Column("outcome_at", String(32), nullable=False),  # the client's clock
    Column("received_at", String(32), nullable=False),
    Column("accepted", Text, nullable=False, server_default="[]"),  # JSON list of suggestion UUIDs
    Column("reason_system", String(512)),
    Column("reason_code", String(256)),
    Column("user_comment", Text),  # may hold anything about a patient: never logged
    ForeignKeyConstraint(["card"], ["sent_card.card"], ondelete="CASCADE"),
    UniqueConstraint("card", "content", name="feedback_once"),
    Index("feedback_received", "received_at"),
)

# A call of a service in shadow mode, also when no card came of it: misses are counted from these.
shadow_call = Table(
    "shadow_call",
    metadata,
    Column("row", _auto, primary_key=True, autoincrement=True),
    Column("at", String(32), nullable=False),
    Column("service", String(64), nullable=False),
    Column("hook", String(128), nullable=False),
    Column("hook_instance", String(36), nullable=False),
    Column("issuer", String(512), nullable=False),
    Column("patient_key", String(64), nullable=False),
    Column("cards", Integer, nullable=False),
    Column("problem", String(16)),  # an error's category; NULL when the service answered
    Index("shadow_call_service", "service", "at"),
    Index("shadow_call_time", "at"),
)

# What models said on hook calls, until it is filed as FHIR resources and for computing it again afterwards.
ai_result = Table(
    "ai_result",
    metadata,
    Column("row", _auto, primary_key=True, autoincrement=True),
    Column("at", String(32), nullable=False),
    Column("state", String(16), nullable=False),  # waiting, filed
    Column("model", String(64), nullable=False),
    Column("patient", Text, nullable=False),  # JSON: identifiers, and the id of a chart of ours; "" once filed
    Column("provenance", String(64), nullable=False),  # id of the Provenance under which it is filed, else ""
    Column("body", Text, nullable=False),  # record_store/said_json.py
    Index("ai_result_state", "state", "row"),
    Index("ai_result_provenance", "provenance"),
)

# Results that are to be computed again, and the answers.
ai_replay = Table(
    "ai_replay",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("type", String(64), nullable=False),
    Column("resource_id", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # asked, taken, done, refused
    Column("status", Integer, nullable=False),  # HTTP, of the answer
    Column("answer", Text, nullable=False),  # JSON: Parameters or OperationOutcome
    Column("at", String(32), nullable=False),  # when it came into its state
    Index("ai_replay_state", "state", "at"),
)

# What really happened, imported later, for one card or for one patient and service.
card_outcome = Table(
    "card_outcome",
    metadata,
    Column("key", String(192), primary_key=True),
    Column("card", String(36)),
    Column("patient_key", String(64)),
    Column("service", String(64)),
    Column("happened", Integer, nullable=False),
    Column("observed_at", String(32), nullable=False),
    Column("recorded_at", String(32), nullable=False),
    Index("card_outcome_card", "card"),
    Index("card_outcome_patient", "patient_key", "service"),
    Index("card_outcome_time", "recorded_at"),
)

# ---------------------------------------------------------------- de-identified egress
# UIDs as a destination knows them, and ours.
pseudonym = Table(
    "pseudonym",
    metadata,
    Column("destination", String(64), primary_key=True),
    Column("pseudonym", String(64), primary_key=True),
    Column("original", String(64), nullable=False),
    Index("pseudonym_made", "pseudonym"),
)

# ---------------------------------------------------------------- audit
# Who did what to what: identifiers that we made, or keyed digests; never a patient's name or number.
audit = Table(
    "audit",
    metadata,
    Column("row", _auto, primary_key=True, autoincrement=True),
    Column("at", String(32), nullable=False),
    Column("action", String(64), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("actor", String(128), nullable=False),
    Column("subject", String(256), nullable=False),
    Column("detail", Text, nullable=False, server_default="{}"),
    Index("audit_action", "action", "at"),
)

# A seal is over the rows up to last_row that the seal before does not cover (record_store/audit_chain.py).
audit_seal = Table(
    "audit_seal",
    metadata,
    Column("last_row", BigInteger, primary_key=True, autoincrement=False),
    Column("rows", Integer, nullable=False),
    Column("seal", String(64), nullable=False),
    Column("sealed_at", String(32), nullable=False),
)

# ---------------------------------------------------------------- bulk exports
# asked: JSON; at: the transaction time, once it has begun; step, after: up to where files are stored.
bulk_export = Table(
    "bulk_export",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("client", String(256), nullable=False),
    Column("kickoff", Text, nullable=False),
    Column("asked", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("at", String(32)),
    Column("step", Integer, nullable=False),
    Column("after", String(64), nullable=False),
    Column("resources", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("problem", Text),
    Column("executor", String(64)),
    Column("leased_until", String(32), nullable=False),
    Column("settled_at", String(32), nullable=False),
    Index("bulk_export_state", "state", "settled_at"),
)

bulk_export_file = Table(
    "bulk_export_file",
    metadata,
    Column("export", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("type", String(64), nullable=False),
    Column("resources", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
)

# ---------------------------------------------------------------- steps of other worklists (UPS) that we perform
# The row is there before the step is claimed: after a kill it is claimed again with the same transaction UID.
workitem = Table(
    "workitem",
    metadata,
    Column("worklist", String(64), primary_key=True),
    Column("workitem_uid", String(64), primary_key=True),
    Column("transaction_uid", String(64), nullable=False),
    Column("rule", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # see record_store.workitems
    Column("stopped_in", String(16)),  # the state that it was given up in
    Column("patient_system", String(512)),
    Column("patient_value", String(256)),
    Column("codes", Text, nullable=False),  # JSON list of [value, scheme, meaning]: what is scheduled
    Column("told", Integer, nullable=False),  # percent that the worklist has been told, -1 for none
    Column("reason_code", String(16)),  # of PS3.16 CID 9300, when it is canceled
    Column("reason", Text),
    Column("outputs", Integer, nullable=False),
    Column("problem", Text),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", String(32), nullable=False),
    Column("claimed_at", String(32)),
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
    Column("held_by", String(64)),  # the worker that has it in hand
    Column("source", String(128)),  # whom its next study is fetched from, in words; NULL before that is known
    Column("cancel_asked_at", String(32)),  # when somebody asked for its cancellation, which is not answered yet
    Index("workitem_due", "state", "next_attempt_at"),
)

# Its input: a study each. objects: JSON list of SOP instance UIDs, empty where the whole study is meant.
workitem_study = Table(
    "workitem_study",
    metadata,
    Column("worklist", String(64), primary_key=True),
    Column("workitem_uid", String(64), primary_key=True),
    Column("study_uid", String(64), primary_key=True),
    Column("retrieve_ae", String(16), nullable=False),
    Column("objects", Text, nullable=False),
    # fetched: 1: an archive has sent it; -1: it has begun to, object by object; -2: it was asked.
    Column("fetched", Integer, nullable=False),
    Column("retrieve_url", Text),
    Index("workitem_study_uid", "study_uid"),
)

# Steps that others created here (UPS Push): the worklist that we keep ourselves. body: DICOM JSON.
own_step = Table(
    "own_step",
    metadata,
    Column("workitem_uid", String(64), primary_key=True),
    Column("state", String(16), nullable=False),  # Procedure Step State
    Column("transaction_uid", String(64)),  # of its performer, once it is claimed; never told
    Column("created_by", String(16), nullable=False),  # AE title
    Column("body", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
    Index("own_step_state", "state", "created_at"),
)

# Who is told of those steps, and what they are still to be told. body: Event Information in DICOM JSON.
ups_subscription = Table(
    "ups_subscription",
    metadata,
    Column("receiving_ae", String(16), primary_key=True),
    Column("workitem_uid", String(64), primary_key=True),  # or the well-known UID that stands for all steps
    Column("deletion_lock", Integer, nullable=False),
    Index("ups_subscription_step", "workitem_uid"),
)
ups_event = Table(
    "ups_event",
    metadata,
    Column("row", _auto, primary_key=True, autoincrement=True),
    Column("receiving_ae", String(16), nullable=False),
    Column("workitem_uid", String(64), nullable=False),
    Column("kind", Integer, nullable=False),  # Event Type ID
    Column("body", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", String(32), nullable=False),
    Column("created_at", String(32), nullable=False),
    Index("ups_event_receiver", "receiving_ae", "row"),
)

# ---------------------------------------------------------------- HL7 v2 messages
# As they were received, in the transaction that stores what they say. answers: what the sender was told, so that
# it is told the same again. code: table 0357, 0 for none; problem: place and reason, never a value.
hl7_message = Table(
    "hl7_message",
    metadata,
    Column("row", _auto, primary_key=True, autoincrement=True),
    Column("sha256", String(64), nullable=False),
    Column("sender", String(512), nullable=False),
    Column("control_id", String(256), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("peer", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # stored, quarantined, dropped
    Column("code", Integer, nullable=False),
    Column("problem", Text),
    Column("attempts", Integer, nullable=False),
    Column("answers", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("received_at", String(32), nullable=False),
    Column("settled_at", String(32), nullable=False),
    UniqueConstraint("sha256", name="hl7_message_once"),
    Index("hl7_message_state", "state", "row"),
    Index("hl7_message_control", "sender", "control_id"),
)
