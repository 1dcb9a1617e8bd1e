"""`consilium dicom find|move|get|worklist`: try what a peer answers, with every status in plain words."""

import difflib
import json
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clinical.errors import Busy, IncorrectInput, NotFound, PreconditionMissing, Unsupported

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from consilium.settings import Settings
    from consilium.wiring import House
    from dicom_node.destinations import Destination
    from dicom_node.query.scu import Retrieved

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]
Archive = Annotated[str, typer.Argument(help="Name of an archive of CONSILIUM_PACS.")]
Keys = Annotated[
    list[str] | None, typer.Option("--key", "-k", help="KEYWORD=VALUE, or KEYWORD to ask for it. Repeatable.")
]
Level = Annotated[str, typer.Option(help="PATIENT, STUDY, SERIES or IMAGE.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of lines.")]
_SHOWN = {
    "PATIENT": ("PatientID", "PatientName", "PatientBirthDate"),
    "STUDY": ("StudyInstanceUID", "StudyDate", "ModalitiesInStudy", "StudyDescription",
              "NumberOfStudyRelatedInstances"),
    "SERIES": ("SeriesInstanceUID", "SeriesNumber", "Modality", "BodyPartExamined", "SeriesDescription"),
    "IMAGE": ("SOPInstanceUID", "SOPClassUID", "InstanceNumber"),
}  # fmt: skip


# Without these an archive cannot know what is meant (PS3.4 C.4.2.2.1), and says no more than that it failed.
_NEEDED = {
    "PATIENT": ("PatientID",),
    "STUDY": ("StudyInstanceUID",),
    "SERIES": ("StudyInstanceUID", "SeriesInstanceUID"),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
}


def add_to(app: typer.Typer) -> None:
    """Add the commands to `consilium dicom`."""
    for command in (find, move, get, worklist):
        app.command()(command)


def find(
    archive: Archive, key: Keys = None, level: Level = "STUDY", data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Ask an archive what it holds (C-FIND). Shows patients' data: it goes to this terminal and to no log."""
    from dicom_node.query import scu  # noqa: PLC0415

    settings, peer = _peer(archive, data_dir)
    level = _level(level)
    keys = dict.fromkeys(_SHOWN[level], "") | _keys(key)
    found = _asked(lambda: scu.find(peer, settings.ae_title, _query(level, keys), patient_root=level == "PATIENT"))
    _show([{keyword: scu.text_of(one, keyword) for keyword in keys} for one in found], as_json)
    typer.echo(f"{len(found)} found.", err=True)


def move(
    archive: Archive,
    key: Keys = None,
    level: Level = "STUDY",
    to: Annotated[str | None, typer.Option(help="AE title that gets the objects; ours without it.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Have an archive send objects (C-MOVE), to this server or to another AE that it knows."""
    from dicom_node.query import scu  # noqa: PLC0415

    settings, peer = _peer(archive, data_dir)
    wanted, patients = _retrieval(_level(level), _keys(key)), level.upper() == "PATIENT"
    whither = to or settings.ae_title
    _ended(_asked(lambda: scu.move(peer, settings.ae_title, wanted, whither, patient_root=patients)))


def get(
    archive: Archive,
    key: Keys = None,
    level: Level = "STUDY",
    folder: Annotated[
        Path | None, typer.Option(help="Write the objects here as files instead of storing them.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Fetch objects from an archive over one association (C-GET), into the store or a folder."""
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from dicom_node.query.get_scu import get as get_objects  # noqa: PLC0415
    from dicom_node.sop_classes import IMAGE_CLASSES  # noqa: PLC0415

    settings, peer = _peer(archive, data_dir)
    wanted = _retrieval(_level(level), _keys(key))
    house = House(settings if folder is not None else settings_of_a_store(data_dir))
    try:
        take = _into(folder) if folder is not None else _store(house, peer)
        staging = folder if folder is not None else house.blobs.staging
        _ended(_asked(lambda: get_objects(peer, settings.ae_title, wanted, IMAGE_CLASSES, staging, take)))
    finally:
        house.db.dispose()


def worklist(
    accession: Annotated[str, typer.Option(help="Accession Number.")] = "",
    patient: Annotated[str, typer.Option(help="Patient ID.")] = "",
    study: Annotated[str, typer.Option(help="Study Instance UID.")] = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
    fhir: Annotated[bool, typer.Option("--fhir", help="A FHIR ServiceRequest of each order.")] = False,
) -> None:
    """Ask the Modality Worklist of CONSILIUM_WORKLIST what was ordered."""
    from consilium.cli import settings_of  # noqa: PLC0415
    from dicom_node.destinations import Destination  # noqa: PLC0415
    from dicom_node.query.worklist import orders_of  # noqa: PLC0415

    settings = settings_of(data_dir=data_dir)
    if settings.worklist is None:
        raise PreconditionMissing("no worklist is set (CONSILIUM_WORKLIST)")
    if not (accession or patient or study):
        raise IncorrectInput("name the order: --accession, --patient or --study")
    node = settings.worklist
    peer = Destination("worklist", node.host, node.port, node.ae_title)
    orders = _asked(
        lambda: orders_of(peer, settings.ae_title, accession_number=accession, patient_id=patient, study_uid=study)
    )
    if fhir:
        from consilium.order_keeping import as_service_request  # noqa: PLC0415

        requests = (as_service_request(one, resource_id="order", patient_id="patient") for one in orders)
        _show(requests, as_json=True)
    else:
        _show([asdict(one) for one in orders], as_json)
    typer.echo(f"{len(orders)} found.", err=True)


def _peer(name: str, data_dir: Path | None) -> "tuple[Settings, Destination]":
    from consilium.cli import settings_of  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415

    settings = settings_of(data_dir=data_dir)
    destinations = House(settings).destinations
    found = destinations.get(name)
    if found is None:
        raise NotFound(f"no archive of CONSILIUM_PACS has this name; {named(destinations)}")
    if not found.ae_title:
        raise Unsupported(
            "this archive is reached by STOW-RS, which has no queries; use an entry with an AE title"
        )
    return settings, found


def _asked(ask: "Callable[[], Any]") -> Any:  # noqa: ANN401 - what was asked for
    from dicom_node.query.scu import Unanswered  # noqa: PLC0415

    try:
        return ask()
    except Unanswered as why:
        raise Busy(f"{why}{_remark(why.comment)}") from None


def named(destinations: Collection[str]) -> str:
    """Return which names there are, for who has mistyped one."""
    return f"there are: {', '.join(destinations)}" if destinations else "it is empty"


def _level(text: str) -> str:
    if text.upper() not in _SHOWN:
        raise IncorrectInput("a level is PATIENT, STUDY, SERIES or IMAGE")
    return text.upper()


def _keys(given: list[str] | None) -> dict[str, str]:
    return {name.strip(): value for name, _, value in (one.partition("=") for one in given or ())}


def _query(level: str, keys: dict[str, str]) -> "Dataset":
    from pydicom.datadict import keyword_dict  # noqa: PLC0415

    from dicom_node.query import scu  # noqa: PLC0415

    try:
        return scu.query(level, keys)
    except KeyError as unknown:
        near = difflib.get_close_matches(str(unknown.args[0]), keyword_dict, n=1)
        meant = f"; is {near[0]} meant?" if near else ""
        raise IncorrectInput(f"a key is no keyword of PS3.6, as PatientID is{meant}") from None


def _retrieval(level: str, keys: dict[str, str]) -> "Dataset":
    lacking = [keyword for keyword in _NEEDED[level] if not keys.get(keyword)]
    if lacking:
        raise IncorrectInput(f"what is retrieved at level {level} is named by -k {lacking[0]}=...")
    return _query(level, keys)


def _ended(retrieved: "Retrieved") -> None:
    counts = f"{retrieved.completed} taken, {retrieved.warning} with a remark, {retrieved.failed} not"
    typer.echo(f"{retrieved.words}{_remark(retrieved.comment)}: {counts}.", err=True)
    raise typer.Exit(0 if retrieved.status == 0 else 1)


def _remark(comment: str) -> str:
    """Return what an archive says itself, which goes to this terminal and to no log."""
    return f" ({comment})" if comment else ""


def _into(folder: Path) -> "Callable[[Path, str], None]":
    folder.mkdir(parents=True, exist_ok=True)
    numbers = iter(range(1, 1_000_000))

    def take(part: Path, _syntax: str) -> None:
        part.replace(folder / f"{next(numbers):06}.dcm")

    return take


def _store(house: "House", peer: "Destination") -> "Callable[[Path, str], None]":
    from consilium.fetching import taker_of  # noqa: PLC0415

    return taker_of(house, peer)


def _show(rows: Iterable[dict[str, Any]], as_json: bool) -> None:
    for row in rows:
        if as_json:
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        else:
            sys.stdout.write("  ".join(f"{name}={value}" for name, value in row.items() if value) + "\n")
