"""`consilium fhir imaging-study`: what a study was and what was made of it, for who reads R4 or R5."""

import getpass
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import orjson
import typer

from clinical.errors import NotFound

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]


class Release(StrEnum):
    """Releases of FHIR."""

    R4 = "R4"
    R5 = "R5"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("imaging-study")(imaging_study)


def imaging_study(
    named: Annotated[str, typer.Argument(metavar="STUDY", help="Study Instance UID, or its digest.")],
    release: Annotated[Release, typer.Option(help="Whose form: the API's, or R5's.")] = Release.R4,
    by: Annotated[str | None, typer.Option(help="Who looks, for the audit; by default who runs it.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Write the ImagingStudy of a study to standard output. It names the patient's chart."""
    from consilium.cli import settings_of_a_store  # noqa: PLC0415 - the command line imports this module
    from consilium.operator import checked_operator  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from fhir_adapters.resources.ids import imaging_study_id  # noqa: PLC0415
    from fhir_adapters.resources.imaging_study_r5 import in_r5  # noqa: PLC0415
    from record_store.audit import append, digest  # noqa: PLC0415
    from record_store.resources import read  # noqa: PLC0415
    from record_store.study_history import find_study  # noqa: PLC0415

    actor = checked_operator(by or getpass.getuser())
    house = House(settings_of_a_store(data_dir))
    try:
        with house.db.write() as conn:
            uid = find_study(conn, named)
            stored = None if uid is None else read(conn, "ImagingStudy", imaging_study_id(uid))
            if uid is None or stored is None:
                raise NotFound(
                    "no study of this UID or digest has an ImagingStudy: one is made when a model has read it"
                )
            append(
                conn,
                at=house.now(),
                action="imaging-study-shown",
                outcome=release,
                actor=actor,
                subject=digest(uid),
            )
    finally:
        house.db.dispose()
    told = stored.body if release is Release.R4 else orjson.dumps(in_r5(orjson.loads(stored.body)))
    sys.stdout.write(told.decode() + "\n")
