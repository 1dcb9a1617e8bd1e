"""Tokens that were used: each lets in one call of a hook."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and the index that finds what has expired."""
    op.create_table(
        "seen_token",
        sa.Column("token_key", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("token_key"),
    )
    op.create_index("seen_token_expiry", "seen_token", ["expires_at"], unique=False)
