"""Cards that were sent, the feedback on them, calls in shadow mode, and outcomes that came later."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _row() -> "sa.Column[int]":
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("row", kind, autoincrement=True, primary_key=True, nullable=False)


def _text(name: str, length: int, *, nullable: bool = False) -> "sa.Column[str]":
    return sa.Column(name, sa.String(length=length), nullable=nullable)


def upgrade() -> None:
    """Create the tables."""
    _sent_card()
    _feedback()
    _shadow_call()
    _card_outcome()
    op.create_index("audit_action", "audit", ["action", "at"], unique=False)  # a report counts what was held back


def _sent_card() -> None:
    op.create_table(
        "sent_card",
        _text("card", 36),
        _text("sent_at", 32),
        _text("service", 64),
        _text("hook", 128),
        _text("hook_instance", 36),
        _text("issuer", 512),
        _text("client", 128),
        _text("patient_key", 64),
        _text("user_key", 64, nullable=True),
        _text("indicator", 16),
        _text("model", 64, nullable=True),
        _text("model_version", 64, nullable=True),
        _text("model_digest", 64, nullable=True),
        sa.Column("threshold", sa.Float(), nullable=True),
        sa.Column("probability", sa.Float(), nullable=True),
        sa.Column("score_bin", sa.Integer(), nullable=True),
        _text("outcome_code", 512, nullable=True),
        _text("finding_key", 128, nullable=True),
        _text("input_hash", 64, nullable=True),
        sa.Column("suggestions", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("shadow", sa.Integer(), nullable=False, server_default="0"),
        _text("replaces", 36, nullable=True),
        sa.PrimaryKeyConstraint("card"),
    )
    op.create_index("sent_card_patient", "sent_card", ["patient_key", "sent_at"], unique=False)
    op.create_index("sent_card_user", "sent_card", ["user_key", "sent_at"], unique=False)
    op.create_index("sent_card_time", "sent_card", ["sent_at"], unique=False)


def _feedback() -> None:
    op.create_table(
        "feedback",
        _row(),
        _text("card", 36),
        _text("content", 64),
        _text("outcome", 16),
        _text("outcome_at", 32),
        _text("received_at", 32),
        sa.Column("accepted", sa.Text(), nullable=False, server_default="[]"),
        _text("reason_system", 512, nullable=True),
        _text("reason_code", 256, nullable=True),
        sa.Column("user_comment", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["card"], ["sent_card.card"], ondelete="CASCADE"),
        sa.UniqueConstraint("card", "content", name="feedback_once"),
    )
    op.create_index("feedback_received", "feedback", ["received_at"], unique=False)


def _shadow_call() -> None:
    op.create_table(
        "shadow_call",
        _row(),
        _text("at", 32),
        _text("service", 64),
        _text("hook", 128),
        _text("hook_instance", 36),
        _text("issuer", 512),
        _text("patient_key", 64),
        sa.Column("cards", sa.Integer(), nullable=False),
        _text("problem", 16, nullable=True),
    )
    op.create_index("shadow_call_service", "shadow_call", ["service", "at"], unique=False)
    op.create_index("shadow_call_time", "shadow_call", ["at"], unique=False)


def _card_outcome() -> None:
    op.create_table(
        "card_outcome",
        _text("key", 192),
        _text("card", 36, nullable=True),
        _text("patient_key", 64, nullable=True),
        _text("service", 64, nullable=True),
        sa.Column("happened", sa.Integer(), nullable=False),
        _text("observed_at", 32),
        _text("recorded_at", 32),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("card_outcome_card", "card_outcome", ["card"], unique=False)
    op.create_index("card_outcome_patient", "card_outcome", ["patient_key", "service"], unique=False)
    op.create_index("card_outcome_time", "card_outcome", ["recorded_at"], unique=False)
