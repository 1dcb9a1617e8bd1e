"""Whether an archive has confirmed that it keeps what it took."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns to the deliveries, and the index that finds what is due to be asked."""
    op.add_column("delivery", sa.Column("commitment", sa.String(length=16), nullable=True))
    op.add_column("delivery", sa.Column("commitment_uid", sa.String(length=64), nullable=True))
    op.add_column("delivery", sa.Column("commitment_asks", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("delivery", sa.Column("commitment_due_at", sa.String(length=32), nullable=True))
    op.create_index("delivery_commitment", "delivery", ["commitment", "commitment_due_at"], unique=False)
