"""Studies are found by patient without an index that changes with each object that arrives."""

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index anew without the time: it is looked at in the few studies of a patient."""
    op.drop_index("study_patient", "study")
    op.create_index("study_patient", "study", ["patient_system", "patient_value"])
