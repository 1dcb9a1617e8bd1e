"""What a caller of the FHIR API may do: known once the caller is let in, asked by every interaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fhir_adapters.access import scopes as scopes_
from fhir_adapters.access.scopes import Scope

TREATMENT = "TREAT"  # v3-ActReason; what an access is for when nobody says
EMERGENCY = "ETREAT"


@dataclass(frozen=True, slots=True)
class Grant:
    """One caller's rights.

    who: for audit and logs, from configuration ("client:warehouse", "operator", "anonymous"). client_id, token_id:
        of its access token, "" without one. scopes: what it may do, unless it may do everything.
    patient: id of the one Patient whom its patient/ scopes are about, "" for none.
    purpose: v3-ActReason code. actor: reference that Consents may name it by ("Organization/lab"), "" for none.
    """

    who: str
    client_id: str = ""
    token_id: str = ""
    scopes: tuple[Scope, ...] = ()
    patient: str = ""
    purpose: str = TREATMENT
    actor: str = ""
    everything: bool = False

    def may(self, resource_type: str, permission: str) -> bool:
        """True when some scope lets it do this to some resource of the type."""
        return self.everything or any(scope.covers(resource_type, permission) for scope in self.scopes)

    def as_json(self) -> dict[str, Any]:
        """Return it for keeping: what `grant_from` reads. It holds no secret."""
        return {
            "who": self.who,
            "client_id": self.client_id,
            "token_id": self.token_id,
            "scope": scopes_.text_of(self.scopes),
            "patient": self.patient,
            "purpose": self.purpose,
            "actor": self.actor,
            "everything": self.everything,
        }


OPERATOR = Grant("operator", everything=True)
ANONYMOUS = Grant("anonymous", everything=True)  # the development profile, which listens on loopback alone


def grant_from(kept: Mapping[str, Any]) -> Grant:
    """Return the grant that `as_json` gave."""
    given = {name: value for name, value in kept.items() if name != "scope"}
    return Grant(**given, scopes=scopes_.parse_all(kept["scope"]))
