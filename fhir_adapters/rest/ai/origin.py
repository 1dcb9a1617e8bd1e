"""How a result came about: the AI-Provenance that names it, and the version that the model made."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from clinical.errors import NotFound
from fhir_adapters.resources.labels import AI_PROVENANCE_PROFILE, SHA256_IDENTIFIER
from fhir_adapters.resources.reading import READING_IDENTIFIER
from record_store.criteria import ReferenceIn
from record_store.resource_history import version
from record_store.resource_search import SearchQuery, search
from record_store.resources import read

_PAGE = 200
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """provenance: as it is stored. made: the version of the result that the model made, and what stands in it."""

    provenance: Json
    made: int
    body: Json

    @property
    def device(self) -> str:
        """The reference of the model's Device."""
        return str(self.provenance["agent"][0]["who"]["reference"])

    @property
    def input_sha256(self) -> str:
        """The digest of what the model read, "" when it is not written."""
        sources = [one["what"] for one in self.provenance.get("entity", ()) if one["role"] == "source"]
        digests = [one["identifier"] for one in sources if "reference" not in one and "identifier" in one]
        return next((one["value"] for one in digests if one.get("system") == SHA256_IDENTIFIER), "")


def origin_of(conn: Connection, resource_type: str, resource_id: str) -> Origin:
    """Return how a result came about. Raises NotFound when no Provenance of a model names it."""
    for provenance in provenances_of(conn, ((resource_type, resource_id),)):
        # A client may have written one of that profile whose agent names nobody: it is not how we made this.
        if AI_PROVENANCE_PROFILE not in provenance.get("meta", {}).get("profile", ()) or not _names_a_device(
            provenance
        ):
            continue
        for target in provenance["target"]:
            named, _, number = str(target.get("reference", "")).partition("/_history/")
            if named == f"{resource_type}/{resource_id}":
                made = version(conn, resource_type, resource_id, int(number) if number.isdecimal() else 1)
                if made is not None and not made.deleted:
                    return Origin(provenance, made.stored.version, orjson.loads(made.stored.body))
    raise NotFound("no Provenance says that a model of this server made that")


def provenances_of(conn: Connection, targets: tuple[tuple[str, str], ...]) -> Iterator[Json]:
    """Yield all that name one of these (type, id): whoever decided on a result has left one too."""
    after = None
    while True:
        page = search(conn, SearchQuery("Provenance", (ReferenceIn("target", targets),), after=after, limit=_PAGE))
        yield from (orjson.loads(match.resource.body) for match in page)
        if len(page) < _PAGE:
            return
        after = page[-1].place


def _names_a_device(provenance: Json) -> bool:
    return isinstance(provenance["agent"][0].get("who", {}).get("reference"), str)


def reading_id_of(conn: Connection, origin: Origin) -> str | None:
    """Return the id of the image reading that the result is of, None when it is none."""
    for target in origin.provenance["target"]:
        kind, _, ident = str(target.get("reference", "")).partition("/_history/")[0].partition("/")
        if kind != "DiagnosticReport":
            continue
        report = read(conn, kind, ident)
        for identifier in orjson.loads(report.body).get("identifier", ()) if report else ():
            if identifier.get("system") == READING_IDENTIFIER:
                return str(identifier["value"])
    return None
