"""What the worklist says was ordered under a study's accession number."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, empty."""
    op.create_table(
        "study_order",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("orders", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("side", sa.String(length=1), nullable=False),
        sa.Column("stranger", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("study_uid"),
    )
