"""One call as everything behind the parser sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cds.caller import ANONYMOUS, Caller
from cds.deadline import Deadline
from cds.prefetch import Prefetched
from cds.request import HookRequest


@dataclass(frozen=True, slots=True)
class HookCall:
    """One call of one service: checked, and with every prefetch key of its own present.

    service_id: whom it is for. caller: who asks, and what it understands.
    """

    request: HookRequest
    prefetch: Mapping[str, Prefetched] = field(repr=False)
    deadline: Deadline
    caller: Caller = ANONYMOUS
    service_id: str = ""
