"""Who may ask what of the node's query/retrieve services. Deny by default: whoever is not named may nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from dicom_node.destinations import Destination
from dicom_node.query.search import EVERYTHING, Scope


class May(StrEnum):
    """What a caller may do."""

    FIND = "find"
    MOVE = "move"
    GET = "get"


@dataclass(frozen=True, slots=True)
class Caller:
    """One calling AE. sees: "own" is studies of which every object came from it. to: names of destinations."""

    may: frozenset[May]
    sees: Literal["everything", "own"] = "own"
    to: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Access:
    """callers: by AE title. destinations: that C-MOVE knows, by name."""

    callers: Mapping[str, Caller] = field(default_factory=dict)
    destinations: Mapping[str, Destination] = field(default_factory=dict)

    def allows(self, ae_title: str, what: May) -> bool:
        """Tell whether a calling AE may do this."""
        caller = self.callers.get(ae_title)
        return caller is not None and what in caller.may

    def scope(self, ae_title: str) -> Scope:
        """Return what a calling AE may see: nothing when it is not named."""
        caller = self.callers.get(ae_title)
        if caller is None:
            return Scope(studies=frozenset())
        return EVERYTHING if caller.sees == "everything" else Scope(sender=ae_title)

    def move_destination(self, ae_title: str, wanted: str) -> Destination | None:
        """Return the destination of this AE title that a calling AE may send to; None when it has none."""
        caller = self.callers.get(ae_title)
        names = caller.to if caller is not None else frozenset()
        found = (one for name, one in self.destinations.items() if name in names and not one.stow_url)
        return next((one for one in found if one.ae_title == wanted), None)
