"""Earlier studies of a patient that an archive was asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, empty."""
    op.create_table(
        "prior",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("prior_uid", sa.String(length=64), nullable=False),
        sa.Column("archive", sa.String(length=64), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("objects", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("study_uid", "prior_uid"),
    )
    op.create_index("prior_uid", "prior", ["prior_uid"], unique=False)
    op.create_index("prior_state", "prior", ["state", "at"], unique=False)
