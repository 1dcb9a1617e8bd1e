"""Where an import goes, and who is told how it goes on."""

from collections.abc import Sequence
from typing import Protocol

from fhir_adapters.importing.items import Identifiers, Problem
from fhir_adapters.importing.prepare import Ready
from fhir_adapters.importing.tally import Tally
from fhir_adapters.validation.profiles import Profiles
from record_store.imports import Imported


class Target(Protocol):
    """The local store (`writing.Store`), or another server."""

    @property
    def rehearsal(self) -> bool:
        """Whether nothing is written."""
        ...

    @property
    def base_url(self) -> str:
        """Our own address: an absolute reference to this server equals the relative one."""
        ...

    @property
    def profiles(self) -> Profiles | None:
        """Those that resources are judged by, None for R4's own."""
        ...

    def known(self, digest: str) -> Imported:
        """Return how far a file has come before."""
        ...

    def match(self, kind: str, condition: str) -> str | None:
        """Return Type/id of the one match as it is now, None when there is none."""
        ...

    def found(self, kind: str, condition: str) -> str | None:
        """Return Type/id of what a conditional reference finds; it may be remembered."""
        ...

    def strangers(self, lot: Sequence[tuple[str, Identifiers]]) -> list[str]:
        """Return the ids under which a Patient is kept that has none of the identifiers told."""
        ...

    def write(self, ready: Sequence[Ready], digest: str, so_far: Imported) -> Tally:
        """Write resources and how far the file has come, all or none."""
        ...

    def finish(self, digest: str, so_far: Imported) -> None:
        """Keep that a file is done with."""
        ...


class Watch(Protocol):
    """Is told of each step."""

    def stage(self, name: str, total: int) -> None:
        """Begin something of so many parts."""
        ...

    def advance(self, count: int) -> None:
        """So many more parts are done."""
        ...

    def problem(self, problem: Problem) -> None:
        """Tell what is not imported, and why."""
        ...
