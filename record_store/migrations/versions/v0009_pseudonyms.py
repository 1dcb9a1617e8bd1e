"""Which UID stands behind which pseudonym."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "pseudonym",
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("pseudonym", sa.String(length=64), nullable=False),
        sa.Column("original", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("destination", "pseudonym"),
    )
    op.create_index("pseudonym_made", "pseudonym", ["pseudonym"], unique=False)
