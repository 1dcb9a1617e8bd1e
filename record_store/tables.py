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
    Index("resource_updated", "type", "updated", "id"),
    Index("resource_hot", "type", "patient", "code", "date_lo", "id"),
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
)


def _index_table(name: str, *columns: Column[object], index: tuple[str, ...]) -> Table:
    return Table(
        name,
        metadata,
        Column("row", _auto, primary_key=True, autoincrement=True),
        Column("type", String(64), nullable=False),
        Column("id", String(64), nullable=False),
        Column("param", String(64), nullable=False),
        *columns,
        ForeignKeyConstraint(["type", "id"], ["resource.type", "resource.id"], ondelete="CASCADE"),
        Index(f"{name}_value", "type", "param", *index, "id"),
        Index(f"{name}_owner", "type", "id"),
    )


sp_token = _index_table(
    "sp_token",
    Column("system", String(512), nullable=False),  # "" when the token has no system
    Column("code", String(512), nullable=False),
    index=("code", "system"),
)
sp_string = _index_table("sp_string", Column("value", String(512), nullable=False), index=("value",))
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
    Index("study_patient", "patient_system", "patient_value", "last_received_at"),
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
    Index("reading_patient", "patient_system", "patient_value", "created_at"),
    Index("reading_job", "job_key"),
)

result_object = Table(
    "result_object",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("job_key", String(64), nullable=False),
    Column("kind", String(16), nullable=False),  # SEG, SR
    Column("sop_class_uid", String(64), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", String(32), nullable=False),
    Index("result_object_job", "job_key"),
)

# Per-instance, per-destination state of sending a result back (C-STORE).
delivery = Table(
    "delivery",
    metadata,
    Column("delivery_id", _auto, primary_key=True, autoincrement=True),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("destination", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # pending, sent, dead
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", String(32), nullable=False),
    Column("last_status", Integer),  # DIMSE status of the last answer, NULL when there was none
    Column("last_problem", Text),
    Column("updated_at", String(32), nullable=False),
    UniqueConstraint("sop_instance_uid", "destination", name="delivery_once"),
    Index("delivery_due", "state", "next_attempt_at"),
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
)
