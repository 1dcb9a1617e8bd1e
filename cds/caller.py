"""Who calls, and what it understands: known once the caller is let in, used by every later stage.

Capabilities are what a site has configured for an issuer, never what a request claims about itself: CDS Hooks 3.0
forbids, for instance, `actionSelectionBehavior` towards a client that is not known to support it (K7).
"""

from dataclasses import dataclass, field
from enum import StrEnum

from cds.card import SelectionBehavior


class SpecVersion(StrEnum):
    """The line of CDS Hooks that a client speaks."""

    V1 = "1.0"
    V2 = "2.0"
    V3 = "3.0"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What may be sent to a client. The defaults are safe for one that nobody has described.

    selection_behaviors: which a client's users can be offered, best first (Epic knows `any` alone).
    actions: types of suggestion actions that the client carries out; none: cards come without suggestions.
    html: raw HTML may stand in `detail`; no card of ours holds any. tables: its Markdown has tables.
    app_context: `appContext` of smart links is passed on.
    """

    version: SpecVersion = SpecVersion.V2
    selection_behaviors: tuple[SelectionBehavior, ...] = (SelectionBehavior.AT_MOST_ONE, SelectionBehavior.ANY)
    actions: frozenset[str] = frozenset({"create", "update", "delete"})
    system_actions: bool = False
    action_selection_behavior: bool = False
    override_reasons: bool = True
    smart_links: bool = False
    app_context: bool = False
    html: bool = False
    tables: bool = True


@dataclass(frozen=True, slots=True)
class Caller:
    """One client. issuer: its `iss`, or "anonymous" where no token is asked for (development).

    name: the profile's short name, for metrics and audit (bounded by configuration, so fit for a label).
    """

    issuer: str
    name: str
    tenant: str | None = None
    capabilities: Capabilities = field(default_factory=Capabilities)


ANONYMOUS = Caller("anonymous", "anonymous")
