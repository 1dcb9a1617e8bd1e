"""Which worker has a step in hand: after a kill it goes on at once, and not when its lease is over."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("workitem", sa.Column("held_by", sa.String(length=64), nullable=True))
