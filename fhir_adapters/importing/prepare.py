"""One resource made ready to be written: links resolved, judged, and what of it can be found."""

from collections.abc import Callable
from dataclasses import dataclass

from clinical.errors import ClinicalError, IncorrectInput, PreconditionMissing
from fhir_adapters.importing.items import Item, Problem, Rule
from fhir_adapters.remote.problem import RemoteProblem
from fhir_adapters.rest.fhir import require_writable
from fhir_adapters.rest.links import Became, linked
from fhir_adapters.rest.versions import Draft
from fhir_adapters.search.index import index_of
from fhir_adapters.strict_json import MAX_BYTES, load_object
from fhir_adapters.subscriptions.status import dormant
from fhir_adapters.validation.profiles import Profiles
from fhir_adapters.validation.refusal import InvalidResource, demand_valid

Found = Callable[[str, str], str | None]
"""(type, condition) of a conditional reference -> Type/id, None when it finds nothing."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A resource that may be written. draft: None for a DELETE."""

    item: Item
    draft: Draft | None


class _NotHereYet(PreconditionMissing):
    """A conditional reference finds nothing."""


def prepare(
    item: Item, links: Became, found: Found, base_url: str, profiles: Profiles | None = None
) -> Ready | list[Problem]:
    """Return the resource ready to be written, or all that is wrong with it. profiles: as `demand_valid`."""
    kind = item.named.type
    try:
        require_writable(kind)
        if item.named.rule is Rule.DELETE:
            return Ready(item, None)
        if len(item.data) > MAX_BYTES:
            raise IncorrectInput(f"a resource may have {MAX_BYTES} bytes")
        data = linked(item.data, links, lambda of, condition: _resolved(found, of, condition))
        sent = load_object(data)
        demand_valid(sent, kind, profiles)
        if kind == "Subscription":
            data, sent = dormant(data), {**sent, "status": "off"}
        return Ready(item, Draft(kind, data, index_of(sent, base_url)))
    except RemoteProblem as problem:
        if problem.may_pass:
            raise  # it is not this resource's fault
        return [_told(item, problem)]
    except InvalidResource as refusal:
        return [Problem(item.place, one.text, one.expression, one.severity) for one in refusal.problems]
    except ClinicalError as error:
        return [_told(item, error)]


def _resolved(found: Found, kind: str, condition: str) -> str:
    target = found(kind, condition)
    if target is None:
        raise _NotHereYet(f"a conditional reference to a {kind} finds nothing", expression=["reference"])
    return target


def _told(item: Item, error: ClinicalError) -> Problem:
    path = next(iter(error.expression), "")
    return Problem(item.place, error.message, path, waits=isinstance(error, _NotHereYet))
