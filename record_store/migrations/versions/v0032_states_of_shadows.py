"""What is being read in shadow is found, and studies are counted by state, without reading every row."""

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index("shadow_study_state", "shadow_study", ["state", "model", "version"])
