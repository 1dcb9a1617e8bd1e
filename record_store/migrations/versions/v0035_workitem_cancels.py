"""Requests to cancel a step that is in progress."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("workitem", sa.Column("cancel_asked_at", sa.String(length=32), nullable=True))
