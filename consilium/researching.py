"""A research export from the settings: whose key, which store, which folder; what was done stands in the audit."""

import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clinical.destination_pseudonyms import Pseudonyms
from clinical.errors import IncorrectInput, PreconditionMissing
from consilium.keys import derived_key
from consilium.operator import checked_operator
from consilium.securing import pseudonym_purpose
from consilium.settings import Settings
from consilium.wiring import House
from fhir_adapters.research.export import Wish, digest_of, export, types_there
from fhir_adapters.research.parquet import demand_parquet, write_tables
from record_store.audit import append as append_audit

MANIFEST = "manifest.json"
NDJSON, PARQUET, BOTH = "ndjson", "parquet", "both"
_NAME = re.compile("[A-Za-z0-9_-]{1,64}")

Progress = Callable[[str, int, int], None]


def export_for_research(
    settings: Settings,
    folder: Path,
    *,
    name: str,
    types: Sequence[str],
    form: str,
    systems: Sequence[str],
    by: str,
    progress: Progress,
) -> dict[str, Any]:
    """Write an export into a new or empty folder and return its manifest, which is written last.

    name: for whom; a destination of CONSILIUM_PACS gets the pseudonyms that its images have. form: NDJSON, PARQUET
    or BOTH. systems: code systems of the site whose codes may be shown. by: who does it, for the audit.

    Raises IncorrectInput, PreconditionMissing; a folder without a manifest is no export.
    """
    if settings.pseudonym_key is None:
        raise PreconditionMissing("set CONSILIUM_PSEUDONYM_KEY: pseudonyms are made with it")
    actor = checked_operator(by)
    if not _NAME.fullmatch(name):
        raise IncorrectInput("expected a name of letters, digits and - _ in --for")
    if form != NDJSON:
        demand_parquet()
    key = derived_key(settings.pseudonym_key.get_secret_value().encode(), pseudonym_purpose(name))
    house = House(settings)
    wish = Wish(
        names=Pseudonyms(key),
        now=house.now(),
        base_url=f"{house.base_url}/fhir",
        types=tuple(types),
        issuers=_issuers(settings),
        opt_in=settings.research_consent == "opt-in",
        systems=frozenset(systems),
    )
    _prepare(folder)
    before = os.umask(0o077)  # research data is still health data
    try:
        # Who is who stays beside the database, also when we are killed.
        beside = tempfile.TemporaryDirectory(dir=settings.data_dir, prefix="research-")
        with beside as scratch, house.db.read() as conn:
            _check_types(wish, types_there(conn, ()))
            manifest = export(conn, wish, folder, Path(scratch) / "cohort", progress)
        files = sorted(folder.glob("*.ndjson"))
        if form != NDJSON:
            about = {"rules": str(manifest["rules"]), "key": wish.names.key_id, "made": str(manifest["made"])}
            files += [one for file in list(files) for one in write_tables(file, file.stem, folder, about)]
        if form == PARQUET:
            for file in folder.glob("*.ndjson"):
                file.unlink()
            files = [one for one in files if one.exists()]
        manifest |= {
            "for": name,
            "files": {one.name: {"sha256": digest_of(one), "bytes": one.stat().st_size} for one in files},
        }
        _audit(house, manifest, actor)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    finally:
        os.umask(before)
        house.db.dispose()
    return manifest


def _prepare(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise PreconditionMissing("the folder is not empty: name a new one, so that two exports are never mixed")


def _check_types(wish: Wish, there: Sequence[str]) -> None:
    if set(wish.types) - set(there):
        raise IncorrectInput(f"of these types there is something to export: {', '.join(there)}")


def _issuers(settings: Settings) -> dict[str, str]:
    """Return identifier system -> DICOM issuer; of several issuers of one system the first in the table."""
    found: dict[str, str] = {}
    for issuer, system in settings.patient_issuers.items():
        found.setdefault(system, issuer)
    return found


def _audit(house: House, manifest: dict[str, Any], actor: str) -> None:
    with house.db.write() as conn:
        append_audit(
            conn,
            at=house.now(),
            action="research-export",
            outcome="written",
            actor=actor,
            subject=str(manifest["for"]),
            detail={"resources": sum(manifest["resources"].values()), "key": manifest["key"]},
        )
