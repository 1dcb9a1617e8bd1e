"""The resources of a transaction with their links resolved, as far as it can be before the transaction begins."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from clinical.errors import IncorrectInput, PreconditionMissing
from fhir_adapters.rest.entries import Entry
from fhir_adapters.rest.fhir import Fhir
from fhir_adapters.rest.links import linked
from fhir_adapters.rest.patch import change_of_entry, changed_by
from fhir_adapters.rest.versions import Draft, draft
from fhir_adapters.strict_json import load_object
from fhir_adapters.validation.refusal import InvalidResource
from record_store.resource_history import Version


def drafts_of(fhir: Fhir, writes: Sequence[Entry], made: Mapping[int, str]) -> dict[int, Draft]:
    """Return the drafts that ask nothing of the store: everybody who writes would wait for their making.

    made: the ids of what is new for certain. None where a condition decides what a link becomes.
    """
    if any(entry.condition is not None for entry in writes):
        return {}
    became = became_of((entry, made.get(entry.number, entry.id)) for entry in writes)
    drafts: dict[int, Draft] = {}
    for entry in writes:
        if entry.method not in ("DELETE", "PATCH"):
            with suppress(_AsksTheStore), told_of(entry):
                drafts[entry.number] = draft_of(fhir, entry, became, _not_yet)
    return drafts


class _AsksTheStore(Exception):
    """A conditional reference can only be resolved within the transaction."""


def _not_yet(_kind: str, _condition: str) -> str:
    raise _AsksTheStore


def became_of(ids: Iterable[tuple[Entry, str]]) -> dict[str, str]:
    """Return what each fullUrl comes to name."""
    return {entry.full_url: f"{entry.type}/{own}" for entry, own in ids if entry.full_url and own}


def draft_of(
    fhir: Fhir,
    entry: Entry,
    became: Mapping[str, str],
    found: Callable[[str, str], str],
    before: Version | None = None,
) -> Draft:
    """Return the draft of an entry's resource, its links resolved. found: as `links.linked` asks it.

    before: what a PATCH changes.
    """
    data = linked(entry.data, became, found)
    if entry.method == "PATCH":
        data, changed = changed_by(fhir, entry.type, before, change_of_entry(entry.resource, data))
        return draft(fhir, changed, data)
    sent = entry.resource if data == entry.data else load_object(data)
    if sent.get("resourceType") != entry.type:
        raise IncorrectInput("the resource is not of the url's type", expression=["resource.resourceType"])
    return draft(fhir, sent, data)


@contextmanager
def told_of(entry: Entry) -> Iterator[None]:
    """Let an error say which entry it is about."""
    try:
        yield
    except InvalidResource as error:
        error.stands_at(f"{entry.place}.resource")
        raise
    except (IncorrectInput, PreconditionMissing) as error:
        error.expression = tuple(f"{entry.place}.{one}" for one in error.expression) or (entry.place,)
        raise
