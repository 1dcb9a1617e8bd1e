"""Index rows with parts, quantities, numbers and URIs, and which resources are still to be indexed by them."""

import sqlalchemy as sa
from alembic import op

from record_store.migrations.planner import write_shape_of_quantities

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_AUTO = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_EMPTY = sa.text("''")


def upgrade() -> None:
    """Add the columns and the tables. What is stored keeps its rows; `indexed` says that they are of before."""
    for table in ("sp_token", "sp_string", "sp_date", "sp_reference"):
        op.add_column(table, sa.Column("part", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.add_column("sp_token", sa.Column("text", sa.String(length=512), nullable=False, server_default=_EMPTY))
    op.add_column("sp_string", sa.Column("exact", sa.String(length=512), nullable=False, server_default=_EMPTY))
    op.add_column("resource", sa.Column("indexed", sa.Integer(), nullable=False, server_default=sa.text("0")))
    stale = sa.text("indexed < 1")
    op.create_index("resource_stale", "resource", ["type", "id"], sqlite_where=stale, postgresql_where=stale)
    _index_table(
        "sp_quantity",
        *(sa.Column(name, sa.Float(precision=53), nullable=False) for name in ("lo", "hi")),
        *(sa.Column(name, sa.String(length=512), nullable=False) for name in ("system", "code", "unit")),
        *(sa.Column(name, sa.Float(precision=53), nullable=False) for name in ("canon_lo", "canon_hi")),
        sa.Column("canon_unit", sa.String(length=512), nullable=False),
        index=("canon_unit", "canon_lo", "canon_hi"),
    )
    _index_table("sp_uri", sa.Column("value", sa.String(length=512), nullable=False), index=("value",))
    write_shape_of_quantities()


def _index_table(name: str, *columns: sa.Column[float] | sa.Column[str], index: tuple[str, ...]) -> None:
    op.create_table(
        name,
        sa.Column("row", _AUTO, autoincrement=True, nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("param", sa.String(length=64), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False, server_default=sa.text("0")),
        *columns,
        sa.ForeignKeyConstraint(["type", "id"], ["resource.type", "resource.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("row"),
    )
    op.create_index(f"{name}_value", name, ["type", "param", *index, "id"])
    op.create_index(f"{name}_owner", name, ["type", "id"])
