"""One change that a client may make for us: create, update or delete a FHIR resource (CDS Hooks 3.0, "Action")."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from cds.legal import JsonObject, compact, is_text, is_whole_json, must
from cds.markdown import plain

RELATIVE_REFERENCE = re.compile(r"[A-Z][A-Za-z]{1,63}/[A-Za-z0-9.\-]{1,64}")
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")
CONDITION = "Condition"
_VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
PROVISIONAL = ((_VERIFICATION, "provisional"),)


class ActionType(StrEnum):
    """In the order in which a transaction does them (R4 3.1.0.11.2): deletes, creates, updates."""

    DELETE = "delete"
    CREATE = "create"
    UPDATE = "update"


_ORDER = tuple(ActionType)


@dataclass(frozen=True, slots=True)
class Action:
    """Create or update a whole resource, or delete `resource_id`, a relative reference.

    A created resource has no id: the client's server gives it one. A Condition is a clinician's to make, so one is
    only ever proposed, as provisional.
    deprecated_form: a delete is written as `resource: "<id>"`, for clients of CDS Hooks 1.0 (see cds.adapt).
    """

    type: str
    description: str
    resource: Mapping[str, object] | None = field(default=None, repr=False)
    resource_id: str | None = None
    deprecated_form: bool = False

    def __post_init__(self) -> None:
        must(self.type in _ORDER, "an action is create, update or delete")
        must(is_text(plain(self.description)), "an action has no description")
        if self.type == ActionType.DELETE:
            whole = self.resource is None and RELATIVE_REFERENCE.fullmatch(self.resource_id or "")
            must(bool(whole), "delete needs a relative reference and nothing else")
            return
        must(
            self.resource_id is None and not self.deprecated_form, f"{self.type} needs a resource and nothing else"
        )
        self._check_resource(self.resource)

    def _check_resource(self, resource: Mapping[str, object] | None) -> None:
        whole = isinstance(resource, dict) and is_whole_json(resource)
        must(
            whole and bool(_TYPE.fullmatch(_text(resource, "resourceType"))), f"{self.type} needs a whole resource"
        )
        if self.type == ActionType.UPDATE:
            must(bool(_ID.fullmatch(_text(resource, "id"))), "an update needs the id of what it updates")
        else:
            must("id" not in (resource or {}), "what is created gets its id from the server")
        if _text(resource, "resourceType") == CONDITION:
            provisional = self.type == ActionType.CREATE and _codes(resource, "verificationStatus") == PROVISIONAL
            must(provisional, "a Condition may only be proposed as provisional")

    @property
    def resource_type(self) -> str:
        """The type of what it changes."""
        return _text(self.resource, "resourceType") or (self.resource_id or "").partition("/")[0]

    @property
    def target(self) -> str | None:
        """The relative reference of what it updates or deletes, None when it creates."""
        if self.type == ActionType.UPDATE:
            return f"{self.resource_type}/{_text(self.resource, 'id')}"
        return self.resource_id

    def to_json(self) -> JsonObject:
        """Return the action as wire JSON."""
        gone = self.resource_id if self.deprecated_form else None
        return compact(
            {
                "type": self.type,
                "description": plain(self.description),
                "resource": gone.partition("/")[2] if gone else self.resource,
                "resourceId": None if gone else self.resource_id,
            }
        )


def in_order(actions: Sequence[Action]) -> tuple[Action, ...]:
    """Return the actions in the order of a transaction, so that a client that goes one by one does the same (K12).

    Raises Fault when two of them change the same resource, which no transaction may.
    """
    targets = [action.target for action in actions if action.target]
    must(len(set(targets)) == len(targets), "two actions change the same resource")
    return tuple(sorted(actions, key=lambda action: _ORDER.index(ActionType(action.type))))


def _text(resource: Mapping[str, object] | None, key: str) -> str:
    value = (resource or {}).get(key)
    return value if isinstance(value, str) else ""


def _codes(resource: Mapping[str, object] | None, key: str) -> tuple[tuple[object, object], ...]:
    concept = (resource or {}).get(key)
    codings = concept.get("coding") if isinstance(concept, dict) else None
    found = [one for one in codings if isinstance(one, dict)] if isinstance(codings, list) else []
    return tuple((one.get("system"), one.get("code")) for one in found)
