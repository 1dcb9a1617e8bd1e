"""AI results on their way to other FHIR servers."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "fhir_delivery",
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.String(length=32), nullable=False),
        sa.Column("last_status", sa.Integer()),
        sa.Column("last_problem", sa.Text()),
        sa.Column("updated_at", sa.String(length=32), nullable=False),
        sa.Column("sent_version", sa.Integer()),
        sa.Column("remote_id", sa.String(length=64)),
        sa.Column("remote_etag", sa.String(length=128)),
        sa.PrimaryKeyConstraint("type", "id", "destination"),
    )
    op.create_index("fhir_delivery_due", "fhir_delivery", ["state", "next_attempt_at"])
