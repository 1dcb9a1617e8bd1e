"""Whom a step's input is fetched from, so that one slow archive does not hold up the steps of another."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("workitem", sa.Column("source", sa.String(length=128), nullable=True))
