"""What a node offers besides storage: presentation contexts, and who answers on them.

pynetdicom has one handler for each kind of request, and several services share kinds (N-ACTION is storage
commitment's and a worklist's, N-CREATE that of a procedure step and of an availability notification): whose a
request is says the abstract syntax of its context. pynetdicom is loaded when the first of them is made (`Offer`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from clinical.errors import IncorrectInput

if TYPE_CHECKING:
    from pynetdicom import evt
    from pynetdicom.presentation import PresentationContext

Handler = Callable[["evt.Event"], Any]  # answers as pynetdicom's handlers of that event do


class Offer(Protocol):
    """Services that a node offers, whether they are made yet or not."""

    @property
    def classes(self) -> frozenset[str]:
        """The SOP classes that are theirs."""

    def services(self) -> "Sequence[Service]":
        """Return them; made now when they are not yet. Called once."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service. contexts: what is offered to callers. handlers: by pynetdicom's intervention events.

    name, statuses, remark: for the conformance statement; a status is one that callers get, with when.
    requested: told of an association that is asked for, before it is negotiated and after it was let in.
    """

    contexts: "tuple[PresentationContext, ...]"
    handlers: "Mapping[evt.InterventionEvent, Handler]"
    name: str = ""
    statuses: Mapping[int, str] = field(default_factory=dict)
    remark: str = ""
    requested: "Callable[[evt.Event], None] | None" = None

    @property
    def classes(self) -> frozenset[str]:
        """See Offer."""
        return frozenset(str(one.abstract_syntax) for one in self.contexts)

    def services(self) -> "Sequence[Service]":
        """See Offer."""
        return (self,)


@dataclass(frozen=True, slots=True)
class Later:
    """Services that are made when the first association needs one. make: imports what they need."""

    classes: frozenset[str]
    make: Callable[[], Sequence[Service]]

    def services(self) -> Sequence[Service]:
        """See Offer."""
        return self.make()


def classes_of(offers: Iterable[Offer]) -> frozenset[str]:
    """Return the SOP classes of all offers. Raises IncorrectInput when two of them offer the same one."""
    counts = Counter(uid for one in offers for uid in one.classes)
    if counts and max(counts.values()) > 1:
        raise IncorrectInput("two services of the node offer the same SOP class")
    return frozenset(counts)


def offered(services: Iterable[Service]) -> "list[PresentationContext]":
    """Return the contexts of all services. Raises IncorrectInput when two of them offer the same SOP class."""
    contexts = [context for service in services for context in service.contexts]
    if len({context.abstract_syntax for context in contexts}) < len(contexts):
        raise IncorrectInput("two services of the node offer the same SOP class")
    return contexts


def preparing(
    services: Iterable[Service],
) -> "list[tuple[evt.NotificationEvent, Callable[[evt.Event], None]]]":
    """Return the services' handlers of an association that is asked for; to be bound behind who may refuse it."""
    from pynetdicom import evt  # noqa: PLC0415 - see the module

    return [(evt.EVT_REQUESTED, _if_let_in(one.requested)) for one in services if one.requested is not None]


def _if_let_in(requested: "Callable[[evt.Event], None]") -> "Callable[[evt.Event], None]":
    def handle(event: "evt.Event") -> None:
        if (
            event.assoc.acceptor.writeable
        ):  # else it has been refused, and pynetdicom calls the others all the same
            requested(event)

    return handle


def bound(services: Iterable[Service]) -> "list[tuple[evt.InterventionEvent, Handler]]":
    """Return one handler for each event, which hands a request to the service whose SOP class it is."""
    table: dict[evt.InterventionEvent, dict[str, Handler]] = {}
    for service in services:
        for event, handler in service.handlers.items():
            for context in service.contexts:
                table.setdefault(event, {})[str(context.abstract_syntax)] = handler
    return [(event, _by_class(handlers)) for event, handlers in table.items()]


def _by_class(handlers: Mapping[str, Handler]) -> Handler:
    # A KeyError cannot be: pynetdicom has the request's context from the list that `offered` made.
    return lambda event: handlers[str(event.context.abstract_syntax)](event)
