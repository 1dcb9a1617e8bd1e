"""Parquet beside NDJSON: flat tables of what was de-identified, read back from the files that were written.

A pass over the NDJSON for each table, so that memory holds one batch of rows.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from clinical.errors import PreconditionMissing
from fhir_adapters.research.columns import FLAG, NUMBER, TEXT, WHOLE, Layout, layout_of, rows_of

if TYPE_CHECKING:
    from arro3.core import RecordBatch, Schema

BATCH = 5_000
_ABSENT = "Parquet needs the package arro3: install consilium-cds[research], or ask for --format ndjson"


def demand_parquet() -> None:
    """Raise PreconditionMissing where the packages are not installed."""
    try:
        absent = any(find_spec(f"arro3.{name}") is None for name in ("core", "io"))
    except ModuleNotFoundError:  # arro3 itself
        absent = True
    if absent:
        raise PreconditionMissing(_ABSENT)


def write_tables(ndjson: Path, kind: str, folder: Path, about: dict[str, str]) -> list[Path]:
    """Write the tables of a type that have rows, and return their files. about: noted in each file.

    Raises PreconditionMissing where the packages are not installed.
    """
    demand_parquet()
    from arro3.core import RecordBatchReader  # noqa: PLC0415
    from arro3.io import write_parquet  # noqa: PLC0415

    there, made = _tables_there(ndjson, kind), []
    for layout in _every(layout_of(kind)):
        if layout.name not in there:
            continue
        schema = _schema(layout, is_own=layout.name == kind)
        batches = RecordBatchReader.from_batches(schema, _batches(ndjson, kind, layout, schema))
        file = folder / f"{layout.name}.parquet"
        write_parquet(batches, file, compression="zstd(3)", key_value_metadata=about)
        made.append(file)
    return made


def _every(layout: Layout) -> Iterator[Layout]:
    yield layout
    for _, inner in layout.inner:
        yield from _every(inner)


def _tables_there(ndjson: Path, kind: str) -> set[str]:
    layout, found = layout_of(kind), set()
    for one in _resources(ndjson):
        found |= {table for table, _, _, _ in rows_of(layout, one)}
    return found


def _resources(ndjson: Path) -> Iterator[Any]:
    with ndjson.open("rb") as file:
        for line in file:
            yield orjson.loads(line)


def _schema(layout: Layout, *, is_own: bool) -> "Schema":
    from arro3.core import DataType, Field, Schema  # noqa: PLC0415

    types = {TEXT: DataType.string(), NUMBER: DataType.float64(), WHOLE: DataType.int64(), FLAG: DataType.bool()}
    head = [("id", TEXT)] if is_own else [("resource_id", TEXT), ("number", WHOLE), ("parent", WHOLE)]
    columns = [*head, *((one.name, one.kind) for one in layout.columns)]
    return Schema([Field(name, types[kind], nullable=True) for name, kind in columns])


def _batches(ndjson: Path, kind: str, wanted: Layout, schema: "Schema") -> "Iterator[RecordBatch]":
    rows: list[list[Any]] = []
    for one in _resources(ndjson):
        for table, number, parent, values in rows_of(layout_of(kind), one):
            if table == wanted.name:
                head = [one["id"]] if number is None else [one["id"], number, parent]
                rows.append([*head, *values])
        if len(rows) >= BATCH:
            yield _batch(rows, schema)
            rows = []
    if rows:
        yield _batch(rows, schema)


def _batch(rows: list[list[Any]], schema: "Schema") -> "RecordBatch":
    from arro3.core import Array, RecordBatch  # noqa: PLC0415

    columns = zip(*rows, strict=True)
    arrays = [Array(list(values), schema.field(number).type) for number, values in enumerate(columns)]
    return RecordBatch.from_arrays(arrays, schema=schema)
