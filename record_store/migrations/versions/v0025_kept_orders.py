"""Which order a worklist has of a study, what named it, and what became of it in the FHIR store."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("study_order", sa.Column("several", sa.Integer(), nullable=False, server_default="0"))
    for name in ("found_by", "accession_number", "accession_system", "kept"):
        op.add_column("study_order", sa.Column(name, sa.Text(), nullable=False, server_default=sa.text("''")))
