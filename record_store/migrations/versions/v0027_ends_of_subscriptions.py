"""When a Subscription ends, where an index finds it."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, with what the Subscriptions of before ask for."""
    op.add_column("subscription", sa.Column("ends_at", sa.String(length=32), nullable=True))
    table = sa.table("subscription", sa.column("id"), sa.column("asked"), sa.column("ends_at"))
    conn = op.get_bind()
    for own, asked in conn.execute(sa.select(table.c.id, table.c.asked)).all():
        end = json.loads(asked).get("end")
        if end is not None:
            conn.execute(sa.update(table).where(table.c.id == own).values(ends_at=end))
    op.create_index("subscription_ends", "subscription", ["ends_at"])
    op.create_index("subscription_status", "subscription", ["status", "updated_at"])
