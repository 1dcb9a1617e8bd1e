"""Index rows have no foreign key: PostgreSQL looked up the resource again for each of them."""

import sqlalchemy as sa
from alembic import op

from record_store.migrations.planner import write_shape_of_rows

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_TABLES = ("sp_token", "sp_string", "sp_date", "sp_reference", "sp_quantity", "sp_uri")


def upgrade() -> None:
    """Drop the keys. SQLite cannot: it makes the tables anew, and then knows nothing of their shape."""
    if op.get_bind().dialect.name != "sqlite":
        for table in _TABLES:
            found = sa.inspect(op.get_bind()).get_foreign_keys(table)
            for key in found:
                op.drop_constraint(str(key["name"]), table, type_="foreignkey")
        return
    for table in _TABLES:
        with op.batch_alter_table(
            table, naming_convention={"fk": "fk_%(table_name)s"}, recreate="always"
        ) as batch:
            batch.drop_constraint(f"fk_{table}", type_="foreignkey")
    op.execute("DELETE FROM sqlite_stat1 WHERE tbl LIKE 'sp_%'")
    write_shape_of_rows()
