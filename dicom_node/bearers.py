"""Which associations are bringing which studies: a release says that the sender has sent what it had.

In this process only. A study that several associations bring at once is told of when the last of them is over.
"""

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BearersEnd:
    """No association brings these studies any more. released: the last one ended as PS3.8 7.2 has it.

    studies: Study Instance UIDs.
    """

    calling_ae: str
    studies: frozenset[str]
    released: bool


@dataclass(slots=True)
class Bearers:
    """The associations that have brought objects and are not over. tell: called outside the lock, never twice."""

    tell: Callable[[BearersEnd], None]
    _brought: dict[Hashable, set[str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def brings(self, association: Hashable, study_uid: str) -> None:
        """An object of a study has been taken on an association."""
        with self._lock:
            self._brought.setdefault(association, set()).add(study_uid)

    def ends(self, association: Hashable, calling_ae: str, *, released: bool) -> None:
        """An association is over, properly or not; again, or one that brought nothing, tells nobody."""
        with self._lock:
            over = self._brought.pop(association, set())
            still = set().union(*self._brought.values())
        # A sender that broke off has not sent what it had, whoever else is sending.
        studies = over - still if released else over
        if studies:
            self.tell(BearersEnd(calling_ae, frozenset(studies), released))
