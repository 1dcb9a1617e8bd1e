"""By which method a version was made, and the index that a type's history is read by."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column to current and superseded versions, and the index."""
    for table in ("resource", "resource_history"):
        op.add_column(
            table, sa.Column("method", sa.String(length=8), nullable=False, server_default=sa.text("''"))
        )
    op.create_index("resource_history_updated", "resource_history", ["type", "updated", "id"], unique=False)
