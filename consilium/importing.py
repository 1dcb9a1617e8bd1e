"""`consilium fhir import` put together: the target, a bar for the eyes, a report of the problems.

The report is the operator's own: it names files and places, which a log of ours never would.
"""

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from clinical.errors import IncorrectInput
from consilium.keys import derived_key
from consilium.wiring import House
from record_store import audit

if TYPE_CHECKING:
    from fhir_adapters.importing.items import Problem
    from fhir_adapters.importing.target import Target
    from fhir_adapters.rest import Fhir

_WRITTEN = ("created", "updated", "removed", "patients")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an import did, for people and for scripts. skipped: files that were imported before."""

    files: int
    skipped: int
    created: int
    updated: int
    unchanged: int
    removed: int
    refused: int
    ignored: int
    report: str | None


class Report:
    """The problems as NDJSON; the file is made with the first one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: IO[str] | None = None

    def add(self, problem: "Problem") -> None:
        """Add one problem: where it stands, and why. Never what stands there."""
        place = problem.place
        said = {
            "file": str(place.file),
            "line": place.line,
            "entry": place.entry,
            "path": problem.path or None,
            "severity": problem.severity,
            "reason": problem.reason,
        }
        if self._file is None:
            try:
                self._file = self.path.open("w", encoding="utf-8")
            except OSError as error:
                raise IncorrectInput(f"--report: the file cannot be written ({error.strerror})") from None
        self._file.write(json.dumps({name: one for name, one in said.items() if one is not None}) + "\n")
        self.count += problem.severity == "error"

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class Bar:
    """Shows on a terminal how far the import is."""

    def __init__(self, progress: Progress, report: Report) -> None:
        self._progress = progress
        self._report = report
        self._task: TaskID | None = None

    def stage(self, name: str, total: int) -> None:
        """Begin a bar."""
        self._task = self._progress.add_task(name, total=total)

    def advance(self, count: int) -> None:
        """Move it."""
        if self._task is not None:
            self._progress.advance(self._task, count)

    def problem(self, problem: "Problem") -> None:
        """Write a problem into the report."""
        self._report.add(problem)


def fhir_of(house: House) -> "Fhir":
    """Return the FHIR server's collaborators for who writes into the store beside it."""
    from fhir_adapters.rest import Fhir  # noqa: PLC0415 - the validation's tables, for who imports only
    from fhir_adapters.validation.profiles import profiles_in, shipped  # noqa: PLC0415

    folder = house.settings.profiles_dir
    return Fhir(
        db=house.db,
        now=house.now,
        new_id=lambda: str(uuid.uuid4()),
        page_key=derived_key(house.key, "page-token"),
        base_url=f"{house.base_url}/fhir",
        profiles=profiles_in(folder) if folder else shipped(),
    )


@contextmanager
def watched(report: Report, console: Console) -> Iterator[Bar]:
    """Yield a bar on the console; nothing is drawn where it is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        try:
            yield Bar(progress, report)
        finally:
            report.close()


@contextmanager
def noted(
    house: House, action: str, files: int, counts: Callable[[], dict[str, int]], *, missed: str
) -> Iterator[None]:
    """Write into the audit what an import did; one that ends early too, when it may have written something.

    counts: by what became of it; missed: the count of what did not come in.
    """
    outcome = "interrupted"
    try:
        yield
        outcome = "incomplete" if counts()[missed] else "done"
    finally:
        done = counts()
        if outcome != "interrupted" or any(done.get(name) for name in _WRITTEN):
            with house.db.write() as conn:
                audit.append(
                    conn,
                    at=house.now(),
                    action=action,
                    outcome=outcome,
                    actor="operator",
                    subject="files",
                    detail={"files": files, **done},
                )


def import_files(
    house: House,
    target_of: "Callable[[Callable[[Problem], None]], Target]",
    paths: Sequence[Path],
    *,
    report: Path,
    console: Console,
    again: bool = False,
    trust_ids: bool = False,
    each: bool = False,
) -> Outcome:
    """Import files into a target and note it in the audit.

    target_of: makes the target, told whom to tell of what that refuses. Raises IncorrectInput, PreconditionMissing
    (a server that is away too: the same command goes on later), Busy.
    """
    from fhir_adapters.importing.run import Import  # noqa: PLC0415
    from fhir_adapters.importing.sources import find  # noqa: PLC0415

    sources, problems = find(paths), Report(report)
    target = target_of(problems.add)
    with watched(problems, console) as bar:
        work = Import(target, bar, again=again, trust_ids=trust_ids, each=each)
        if target.rehearsal:
            work.run(sources)
        else:
            with noted(house, "fhir-import", len(sources), lambda: asdict(work.tally), missed="refused"):
                work.run(sources)
            house.db.count_rows()
    said = str(report) if problems.count else None
    return Outcome(files=len(sources), skipped=work.skipped, report=said, **asdict(work.tally))
