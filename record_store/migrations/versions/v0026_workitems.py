"""Steps of other worklists that are performed here (UPS)."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "workitem",
        sa.Column("worklist", sa.String(length=64), nullable=False),
        sa.Column("workitem_uid", sa.String(length=64), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("stopped_in", sa.String(length=16), nullable=True),
        sa.Column("patient_system", sa.String(length=512), nullable=True),
        sa.Column("patient_value", sa.String(length=256), nullable=True),
        sa.Column("codes", sa.Text(), nullable=False),
        sa.Column("told", sa.Integer(), nullable=False),
        sa.Column("reason_code", sa.String(length=16), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("outputs", sa.Integer(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.String(length=32), nullable=False),
        sa.Column("claimed_at", sa.String(length=32), nullable=True),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("updated_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("worklist", "workitem_uid"),
    )
    op.create_index("workitem_due", "workitem", ["state", "next_attempt_at"])
    op.create_table(
        "workitem_study",
        sa.Column("worklist", sa.String(length=64), nullable=False),
        sa.Column("workitem_uid", sa.String(length=64), nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("retrieve_ae", sa.String(length=16), nullable=False),
        sa.Column("objects", sa.Text(), nullable=False),
        sa.Column("fetched", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("worklist", "workitem_uid", "study_uid"),
    )
    op.create_index("workitem_study_uid", "workitem_study", ["study_uid"])
