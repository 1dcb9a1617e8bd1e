"""Who is told of steps that others created here, and what they are still to be told (UPS Watch and Event)."""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "ups_subscription",
        sa.Column("receiving_ae", sa.String(length=16), nullable=False),
        sa.Column("workitem_uid", sa.String(length=64), nullable=False),
        sa.Column("deletion_lock", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("receiving_ae", "workitem_uid"),
    )
    op.create_index("ups_subscription_step", "ups_subscription", ["workitem_uid"])
    op.create_table(
        "ups_event",
        sa.Column("row", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("receiving_ae", sa.String(length=16), nullable=False),
        sa.Column("workitem_uid", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("row"),
    )
    op.create_index("ups_event_receiver", "ups_event", ["receiving_ae", "row"])
