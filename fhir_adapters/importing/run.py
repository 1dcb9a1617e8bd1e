"""The whole import: everything is read once for its names, then goes file by file into the target.

What waits for another file (a conditional reference that finds nothing yet) is tried again when all are through.
"""

from collections.abc import Sequence
from dataclasses import replace

from clinical.errors import ClinicalError, PreconditionMissing
from fhir_adapters.importing.items import Place, Problem
from fhir_adapters.importing.sources import Source
from fhir_adapters.importing.survey import Survey, Surveyed, clashes
from fhir_adapters.importing.tally import Tally
from fhir_adapters.importing.target import Target, Watch
from fhir_adapters.importing.turn import Turn, Way
from fhir_adapters.remote.problem import RemoteProblem


class Import:
    """One import of some files. tally: what it has done so far. skipped: files that were imported before."""

    def __init__(
        self, target: Target, watch: Watch, *, again: bool = False, trust_ids: bool = False, each: bool = False
    ) -> None:
        """again: also files that were imported before. trust_ids: an id in the files means the patient here.

        each: of a transaction too what is right comes in, whatever becomes of the rest.
        """
        self.tally = Tally()
        self.skipped = 0
        self._target = target
        self._watch = watch
        self._again = again
        self._trust_ids = trust_ids
        self._each = each

    def run(self, sources: Sequence[Source]) -> None:
        """Import files.

        Raises PreconditionMissing, before anything is written, when ids of patients mean others here.
        """
        survey = Survey()
        way = Way(self._target, self._watch, survey, self._each, self.tally)
        try:
            files = self._survey(survey, sources)
            self._watch.stage("importing", sum(one.items for one in files))
            waiting = [(one, turn.waits) for one in files if (turn := self._first(way, one)) and turn.waits]
            if waiting:
                self._watch.stage("what waited for another file", sum(len(waits) for _, waits in waiting))
            for file, waits in waiting:
                only = frozenset() if file.whole and not self._each else frozenset(waits)
                self._go(way, file, Turn(way, file, only=only, last=True))
        finally:
            survey.close()

    def _survey(self, survey: Survey, sources: Sequence[Source]) -> list[Surveyed]:
        self._watch.stage("reading", len(sources))
        files = []
        for number, source in enumerate(sources):
            files.append(survey.read(source, number))
            self._watch.advance(1)
        others: set[str] = set()
        for lot in () if self._trust_ids else survey.patients():
            others.update(clashes(lot), self._target.strangers(lot))
        if others:
            raise PreconditionMissing(
                f"{len(others)} patients of these files have the id of another patient (no identifier in common), "
                "so nothing was imported; --trust-ids says that they are the same"
            )
        return files

    def _first(self, way: Way, file: Surveyed) -> Turn | None:
        if file.problem is not None:
            way.refuse([file.problem])
            return None
        before = self._target.known(file.digest)
        if before.finished and not before.refused and not self._again:
            self.skipped += 1
            self._watch.advance(file.items)
            return None
        goes_on = not (before.refused or before.finished or self._again)
        turn = Turn(way, file, done=before.done if goes_on else 0)
        self._go(way, file, turn)
        return turn

    def _go(self, way: Way, file: Surveyed, turn: Turn) -> None:
        try:
            self._settle(way.survey, file)
            turn.run()
        except RemoteProblem as problem:
            if problem.may_pass:
                raise  # the server is away: the next files would only wait for it too
            way.refuse([Problem(Place(file.source.path), problem.message)])
        except ClinicalError as error:
            # Not of one resource: the file ends too early, or the store is away.
            way.refuse([Problem(Place(file.source.path), error.message, next(iter(error.expression), ""))])

    def _settle(self, survey: Survey, file: Surveyed) -> None:
        """Find out what the file's conditional writes mean; a condition that stands twice means one resource."""
        first: dict[tuple[str, str | None], tuple[str, str | None]] = {}
        for entry, named in survey.conditions(file.number):
            key = (named.type, named.condition)
            if key not in first:
                first[key] = self._meaning(named.type, str(named.condition), named.id)
            own, problem = first[key]
            survey.settle(file.number, entry, replace(named, id=own), problem)

    def _meaning(self, kind: str, condition: str, new: str) -> tuple[str, str | None]:
        try:
            match = self._target.match(kind, condition)
        except RemoteProblem:
            raise
        except ClinicalError as error:
            return new, error.message
        return (match.rpartition("/")[2] if match else new), None
