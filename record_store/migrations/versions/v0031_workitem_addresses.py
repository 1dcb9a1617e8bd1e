"""Where a step's study can be had by WADO-RS."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("workitem_study", sa.Column("retrieve_url", sa.Text(), nullable=True))
