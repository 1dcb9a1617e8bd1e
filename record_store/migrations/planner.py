"""Tell SQLite's planner what the search tables look like.

Without statistics it takes the index by value for a range and walks every row of a parameter, once for each
candidate (0.9 ms instead of 0.02 ms at 20,000 Observations, and growing with the store). A new database has
nothing to analyse, so the shape is written down: one ANALYZE of 20,000 Observations of 400 patients and 12
codes. A later ANALYZE replaces it. PostgreSQL's autovacuum keeps its own.
"""

import sqlalchemy as sa
from alembic import op

# (table, index, rows and rows per distinct prefix): https://sqlite.org/fileformat2.html#the_sqlite_stat1_table
_SHAPE = (
    ("resource", "sqlite_autoindex_resource_1", "20000 5000 1"),
    ("resource", "resource_hot", "20000 5000 50 5 1 1"),
    ("resource", "resource_updated", "20000 5000 2 1"),
    ("sp_token", "sp_token_value", "80000 20000 5000 1000 1000 1"),
    ("sp_token", "sp_token_owner", "80000 20000 4"),
    ("sp_string", "sp_string_value", "20000 10000 5000 10 1"),
    ("sp_string", "sp_string_owner", "20000 10000 4"),
    ("sp_date", "sp_date_value", "20000 5000 5000 2 2 1"),
    ("sp_date", "sp_date_owner", "20000 5000 1"),
    ("sp_reference", "sp_reference_value", "40000 10000 5000 50 50 1"),
    ("sp_reference", "sp_reference_owner", "40000 10000 2"),
)

_SHAPE_OF_QUANTITIES = (
    ("sp_quantity", "sp_quantity_value", "20000 5000 5000 1000 2 2 1"),
    ("sp_quantity", "sp_quantity_owner", "20000 5000 1"),
    ("sp_uri", "sp_uri_value", "20000 5000 5000 10 1"),
    ("sp_uri", "sp_uri_owner", "20000 5000 1"),
)


def write_shape() -> None:
    """Write the shape, in a migration that has made the search tables."""
    _write(_SHAPE)


def write_shape_of_rows() -> None:
    """Write the shape of the tables of index rows, in a migration that has made them anew."""
    _write(tuple(one for one in _SHAPE if one[0] != "resource") + _SHAPE_OF_QUANTITIES)


def write_shape_of_quantities() -> None:
    """Write the shape of the tables that came later, in the migration that has made them."""
    _write(_SHAPE_OF_QUANTITIES)


def _write(shapes: tuple[tuple[str, str, str], ...]) -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    op.execute("ANALYZE sqlite_schema")  # makes sqlite_stat1; of an empty database it holds nothing
    for table, index, shape in shapes:
        values = {"tbl": table, "idx": index, "stat": shape}
        op.execute(
            sa.text("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (:tbl, :idx, :stat)").bindparams(**values)
        )
    op.execute("ANALYZE sqlite_schema")  # reads them
