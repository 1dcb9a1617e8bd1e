"""What the objects' headers say, for searches; filled by the worker afterwards."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_AUTO = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_STUDY = (
    "patient_name", "patient_id", "issuer_of_patient_id", "patient_birth_date", "patient_sex", "study_date",
    "study_time", "accession_number", "referring_physician_name", "study_description", "study_id",
    "modalities_in_study", "sop_classes_in_study", "senders",
)  # fmt: skip
_SERIES = (
    "modality", "series_number", "series_description", "series_date", "series_time", "body_part_examined",
    "laterality", "manufacturer", "station_name", "protocol_name", "performed_procedure_step_start_date",
    "performed_procedure_step_start_time",
)  # fmt: skip
_INSTANCE = (
    "instance_number", "number_of_frames", "rows", "columns", "bits_allocated", "content_date", "content_time",
    "image_laterality",
)  # fmt: skip


def upgrade() -> None:
    """Make the three tables, empty."""
    op.create_table(
        "study_header",
        _row(),
        _uid("study_uid"),
        *_said(_STUDY),
        _count("number_of_series"),
        _count("number_of_instances"),
        _count("received"),
        sa.PrimaryKeyConstraint("row"),
        sa.UniqueConstraint("study_uid"),
    )
    op.create_index("study_header_patient", "study_header", ["patient_id"], unique=False)
    op.create_index("study_header_accession", "study_header", ["accession_number"], unique=False)
    op.create_index("study_header_date", "study_header", ["study_date"], unique=False)
    op.create_table(
        "series_header",
        _row(),
        _uid("study_uid"),
        _uid("series_uid"),
        *_said(_SERIES),
        _count("number_of_instances"),
        sa.PrimaryKeyConstraint("row"),
        sa.UniqueConstraint("study_uid", "series_uid", name="series_header_once"),
    )
    op.create_index("series_header_uid", "series_header", ["series_uid"], unique=False)
    op.create_table(
        "instance_header",
        _row(),
        _uid("sop_instance_uid"),
        _uid("study_uid"),
        _uid("series_uid"),
        _uid("sop_class_uid"),
        *_said(_INSTANCE),
        sa.PrimaryKeyConstraint("row"),
        sa.UniqueConstraint("sop_instance_uid"),
    )
    op.create_index("instance_header_series", "instance_header", ["study_uid", "series_uid"], unique=False)
    op.create_index("result_object_created", "result_object", ["created_at"], unique=False)


def _row() -> sa.Column[int]:
    return sa.Column("row", _AUTO, autoincrement=True, nullable=False)


def _uid(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=64), nullable=False)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, server_default="0")


def _said(names: tuple[str, ...]) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]
