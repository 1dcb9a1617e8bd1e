"""What is known of a study's completeness besides its objects: how associations ended, counts, announcements."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "study_evidence",
        sa.Column("study_uid", sa.String(length=64), primary_key=True),
        sa.Column("released_at", sa.String(length=32), nullable=True),
        sa.Column("broken_at", sa.String(length=32), nullable=True),
        sa.Column("objects", sa.Integer(), nullable=True),
        sa.Column("counted_at", sa.String(length=32), nullable=True),
        sa.Column("count_problem", sa.Text(), nullable=True),
        sa.Column("asked_at", sa.String(length=32), nullable=True),
    )
    op.create_table(
        "announcement",
        sa.Column("announcement_uid", sa.String(length=64), primary_key=True),
        sa.Column("study_uid", sa.String(length=64), primary_key=True),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("said_by", sa.String(length=16), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
    )
    op.create_index("announcement_study", "announcement", ["study_uid"], unique=False)
    op.create_table(
        "announced_instance",
        sa.Column("announcement_uid", sa.String(length=64), primary_key=True),
        sa.Column("sop_instance_uid", sa.String(length=64), primary_key=True),
    )
