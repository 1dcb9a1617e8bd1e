"""How many associations there are, and when there are too many: in all, of an address, of an AE."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from dicom_node.bounds import Bounds


@dataclass(slots=True)
class Place:
    """An association's place among those that are established at once. `leave` it once or more."""

    address: str
    calling_ae: str
    leave: Callable[[], None] = field(default=lambda: None)


class Census:
    """Counts associations of all listeners of a node. Safe to use from many threads."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._lock = threading.Lock()
        self._places: set[int] = set()
        self._addresses: Counter[str] = Counter()
        self._callers: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._places)

    def enter(self, address: str, calling_ae: str) -> Place | None:
        """Return a place, or None when a limit is reached (a transient rejection)."""
        bounds = self._bounds
        with self._lock:
            if (
                len(self._places) >= bounds.associations
                or self._addresses[address] >= bounds.associations_per_host
                or self._callers[calling_ae] >= bounds.associations_per_ae
            ):
                return None
            place = Place(address, calling_ae)
            place.leave = lambda: self._leave(place)
            self._places.add(id(place))
            self._addresses[address] += 1
            self._callers[calling_ae] += 1
            return place

    def _leave(self, place: Place) -> None:
        with self._lock:
            if id(place) in self._places:
                self._places.remove(id(place))
                for counter, key in ((self._addresses, place.address), (self._callers, place.calling_ae)):
                    counter[key] -= 1
                    if not counter[key]:
                        del counter[key]  # an address that has gone is not kept
