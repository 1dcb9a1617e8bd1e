"""Readings whose model was recalled."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; nothing was recalled before."""
    op.add_column("reading", sa.Column("recalled_at", sa.String(length=32), nullable=True))
