"""What else than its objects says whether a study is complete, line by line. Pure."""

from datetime import datetime

from record_store.announcements import Announced
from record_store.study_history import StudyHistory


def evidence_in_words(history: StudyHistory) -> tuple[str, ...]:
    """Return a line for each thing that is known: how associations ended, what is counted and announced."""
    known, here = history.evidence, len(history.instances)
    lines = []
    if known.released_at is not None:
        lines.append(f"{_at(known.released_at)} its sender released the association")
    if known.broken_at is not None:
        lines.append(f"{_at(known.broken_at)} a sender broke its association off")
    if known.counted_at is not None:
        said = (
            f"counted {known.objects} objects where {here} were or are here"
            if known.objects is not None
            else f"did not say how many objects there are: {known.count_problem}"
        )
        lines.append(f"{_at(known.counted_at)} the archive {said}")
    return (*lines, *(_announced(said) for said in history.announced))


def _announced(said: Announced) -> str:
    missing = f", {said.missing} of them not here" if said.missing else ", all of them here" if said.listed else ""
    return f"{said.kind} of {said.said_by}, {said.state}, lists {said.listed} objects{missing}"


def _at(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
