"""What happened to a study, stage by stage, in words. Pure: history and matches in, stages out.

No word here is a patient's: what is told are our own reasons, AE titles, names of models, rules and destinations.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from consilium.explain.compared_words import compared_in_words
from consilium.explain.completeness import evidence_in_words
from consilium.explain.differing_words import differing_in_words
from consilium.explain.prior_words import order_in_words, priors_in_words, workitems_in_words
from consilium.explain.shadow_words import shadows_in_words
from dicom_node.status import in_words
from record_store.audit import digest
from record_store.commitments import ASKED, COMMITTED, UNCONFIRMED, WANTED
from record_store.deliveries import DEAD, RECALLED_THERE, SENT, SUPERSEDED
from record_store.instances import CLOSED, HELD, StudyRow
from record_store.readings import DONE, FAILED, JobRow
from record_store.shadows import DONE as SHADOW_DONE
from record_store.shadows import FAILED as SHADOW_FAILED
from record_store.shadows import MOST_ATTEMPTS
from record_store.study_history import UNCLOSED, Act, Sent, StudyHistory


class State(StrEnum):
    """Where a stage stands. NOTHING: it was reached, without anything to do. NOT_YET: an earlier one is open."""

    DONE = "done"
    NOTHING = "nothing to do"
    WAITING = "waiting"
    STOPPED = "stopped"
    NOT_YET = "not yet"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage in one sentence, and what is worth knowing line by line."""

    stage: str
    state: State
    words: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """What a model's and the site's rules say of the study's images as they are stored now.

    asked: why the model is asked at all, or is not. read: how many images it reads. left_out: reason -> images.
    clauses: the site's clauses that decided, in words.
    """

    model: str
    asked: str
    read: int = 0
    left_out: tuple[tuple[str, int], ...] = ()
    clauses: tuple[str, ...] = ()


def explain(
    history: StudyHistory, matches: Sequence[Match], quiet_s: float, volumes: Sequence[str] = ()
) -> tuple[Stage, ...]:
    """Return the stages in order. quiet_s: the quiet time of an open study. volumes: what its stacks are."""
    last = [job for job in history.jobs if job.revision == history.study.revision]
    inferred = _inferred(history, last)
    unmade = State.NOTHING if inferred.state is State.NOTHING else State.NOT_YET
    return (
        _received(history),
        _complete(history, quiet_s),
        _matched(history.study, matches, volumes),
        inferred,
        _encoded(history, unmade),
        _delivered(history, unmade),
        _committed(history, unmade),
        *_shadowed(history),
    )


def as_json(history: StudyHistory, stages: Sequence[Stage]) -> dict[str, Any]:
    """Return the explanation as JSON values."""
    study = history.study
    return {
        "study": digest(study.study_uid),
        "state": study.state,
        "revision": study.revision,
        "stages": [asdict(stage) for stage in stages],
    }


def _received(history: StudyHistory) -> Stage:
    rows = history.instances
    if not rows:
        return Stage("received", State.WAITING, "no object is here")
    series = len({row.series_uid for row in rows})
    senders = Counter((row.calling_ae, row.called_ae, row.modality or "no modality") for row in rows)
    lines = tuple(
        f"{count} of modality {modality} from {sender} to {called}"
        for (sender, called, modality), count in sorted(senders.items())
    )
    first, last = (f"{pick(row.received_at for row in rows):%Y-%m-%d %H:%M:%S}" for pick in (min, max))
    words = f"{_count(len(rows), 'object')} in {series} series, {first} to {last} UTC"
    return Stage(
        "received",
        State.DONE,
        words,
        (
            *lines,
            *differing_in_words(history.differing, digest(history.study.study_uid)),
            *order_in_words(history.order),
            *workitems_in_words(history.workitems),
            *priors_in_words(history.priors),
        ),
    )


def _complete(history: StudyHistory, quiet_s: float) -> Stage:
    study, acts = history.study, history.acts
    lines = (*evidence_in_words(history), *(_act_in_words(act) for act in acts))
    if study.state == HELD:
        words = f"held until a person releases it: {study.hold_reason or 'no reason is recorded'}"
        return Stage("complete", State.STOPPED, words, lines)
    if study.state == CLOSED:
        closed = [act for act in acts if act.action == "study-closed"]
        why = _closing_in_words(closed[-1]) if closed else "no reason is recorded"
        return Stage("complete", State.DONE, f"closed as revision {study.revision}: {why}", lines)
    if acts and acts[-1].action == UNCLOSED:
        words = f"still open: it cannot be closed, and is tried again: {acts[-1].detail['why']}"
        return Stage("complete", State.WAITING, words, lines)
    words = (
        f"still open: its last object came {study.last_received_at:%H:%M:%S} UTC, the quiet time is {quiet_s:g} s"
    )
    return Stage("complete", State.WAITING, words, lines)


def _act_in_words(act: Act) -> str:
    what = {
        "study-closed": "closed",
        "study-forced": "said to be complete by an operator",
        "study-held": "held",
        "study-released": "released",
        UNCLOSED: "not closed, though due",
    }[act.action]
    detail = ", ".join(str(act.detail[key]) for key in ("why", "reason") if act.detail.get(key))
    revision = f" as revision {act.detail['revision']}" if "revision" in act.detail else ""
    who = act.actor.replace(":", " ", 1)
    return f"{act.at:%Y-%m-%d %H:%M:%S} UTC {what}{revision} by {who}" + (f": {detail}" if detail else "")


def _closing_in_words(act: Act) -> str:
    why = str(act.detail.get("why", "it was quiet"))
    ignored = int(act.detail.get("ignored", 0))
    if not ignored:
        return why
    verb = "is" if ignored == 1 else "are"
    return f"{_count(ignored, 'late object')} {verb} ignored: {why}; 'consilium study complete' has them read"


def _matched(study: StudyRow, matches: Sequence[Match], volumes: Sequence[str]) -> Stage:
    lines: list[str] = [*volumes]
    for match in matches:
        lines.append(f"{match.model}: {match.asked}")
        if match.read:
            lines.append(f"{match.model}: reads {_count(match.read, 'image')}")
        lines += [f"{match.model}: leaves out {count}: {reason}" for reason, count in match.left_out]
        lines += [f"{match.model}: {clause}" for clause in match.clauses]
    chosen = [match.model for match in matches if match.read]
    if not chosen:
        return Stage("matched", State.NOTHING, "no model is meant to read these images", tuple(lines))
    state = State.DONE if study.state == CLOSED else State.NOT_YET
    return Stage("matched", state, f"read by {', '.join(chosen)}", tuple(lines))


def _inferred(history: StudyHistory, last: Sequence[JobRow]) -> Stage:
    if not last:
        state = State.NOTHING if history.study.state == CLOSED else State.NOT_YET
        return Stage("inferred", state, "no job exists for this revision")
    lines = (*(_job_in_words(job, history) for job in history.jobs), *compared_in_words(history.published))
    failed = [job for job in last if job.state == FAILED]
    if failed:
        return Stage("inferred", State.STOPPED, f"{_count(len(failed), 'job')} failed: {failed[0].reason}", lines)
    if any(job.state != DONE for job in last):
        return Stage("inferred", State.WAITING, "a worker has not finished it yet", lines)
    if all(job.reason for job in last):
        return Stage("inferred", State.NOTHING, str(last[0].reason), lines)
    return Stage("inferred", State.DONE, f"{_count(len(last), 'job')} done", lines)


def _job_in_words(job: JobRow, history: StudyHistory) -> str:
    images, findings = history.findings.get(job.job_key, (0, 0))
    said = f"revision {job.revision}, {job.model} {job.model_version}, job {job.job_key[:12]}: {job.state}"
    if job.reason:
        return f"{said}: {job.reason}"
    if job.state != DONE:
        return said
    if not images:
        return f"{said}, its images had been read before"
    return f"{said}, {_count(images, 'image')} read, {_count(findings, 'finding')}"


def _encoded(history: StudyHistory, unmade: State) -> Stage:
    """Say what was made. unmade: where that stands when nothing was, which later stages take over."""
    if not history.made:
        finished = bool(history.jobs) and all(job.state == DONE for job in history.jobs)
        return Stage("encoded", State.NOTHING if finished else unmade, "no result object was made")
    kinds = Counter(made.kind for made in history.made)
    lines = tuple(
        f"{act.detail['model']}: no {act.detail['kind']} was made: {act.detail['why']}" for act in history.refused
    )
    words = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return Stage("encoded", State.DONE, words, lines)


def _delivered(history: StudyHistory, unmade: State) -> Stage:
    if not history.sent:
        state = State.NOTHING if history.made else unmade
        return Stage(
            "delivered", state, "no destination is meant to get a result" if history.made else "nothing yet"
        )
    lines = tuple(_sent_in_words(sent) for sent in history.sent)
    counted = Counter(sent.state for sent in history.sent)
    words = ", ".join(f"{count} {state}" for state, count in sorted(counted.items()))
    if counted[DEAD]:
        words += "; 'consilium deliveries --resend' tries the dead ones again"
        return Stage("delivered", State.STOPPED, words, lines)
    if any(sent.last_problem == RECALLED_THERE for sent in history.sent):
        words += (
            "; a model was recalled after its results were sent, and archives still keep them: have them rejected"
            " there (IHE IOCM, 113037 Rejected for Patient Safety Reasons) or deleted"
        )
        return Stage("delivered", State.STOPPED, words, lines)
    done = set(counted) <= {SENT, SUPERSEDED}
    return Stage("delivered", State.DONE if done else State.WAITING, words, lines)


def _sent_in_words(sent: Sent) -> str:
    parts = [f"{sent.kind} to {sent.destination}: {sent.state}"]
    if sent.last_status is not None:
        parts.append(f"{in_words(sent.last_status)} (0x{sent.last_status:04X})")
    if sent.last_problem:
        parts.append(sent.last_problem)
    if sent.state != SENT and sent.attempts:
        parts.append(f"{_count(sent.attempts, 'attempt')} so far")
    if sent.state not in {SENT, DEAD, SUPERSEDED}:
        parts.append(f"next at {sent.next_attempt_at:%Y-%m-%d %H:%M:%S} UTC")
    return ", ".join(parts)


def _committed(history: StudyHistory, unmade: State) -> Stage:
    asked = [sent for sent in history.sent if sent.commitment is not None]
    if not asked:
        some = any(sent.state == SENT for sent in history.sent)
        words = "no archive is asked to confirm that it keeps a result" if some else "nothing yet"
        return Stage("committed", State.NOTHING if some else unmade, words)
    counted = Counter(str(sent.commitment) for sent in asked)
    words = ", ".join(f"{count} {state}" for state, count in sorted(counted.items()))
    lines = tuple(_commitment_in_words(sent) for sent in asked)
    if counted[UNCONFIRMED]:
        return Stage("committed", State.STOPPED, words, lines)
    return Stage("committed", State.DONE if set(counted) == {COMMITTED} else State.WAITING, words, lines)


def _shadowed(history: StudyHistory) -> tuple[Stage, ...]:
    """Return a stage only where a model has read for nobody to see: most sites have none."""
    if not history.shadows:
        return ()
    words = f"{_count(len(history.shadows), 'model')} read it for nobody to see; no result was made of that"
    waits = any(one.state != SHADOW_DONE for one in history.shadows)
    over = any(one.state == SHADOW_FAILED and one.attempts >= MOST_ATTEMPTS for one in history.shadows)
    state = State.STOPPED if over else State.WAITING if waits else State.DONE
    return (Stage("shadow", state, words, shadows_in_words(history.shadows)),)


def _commitment_in_words(sent: Sent) -> str:
    said = {
        WANTED: "it is to be asked whether it keeps the object",
        ASKED: f"asked {_count(sent.commitment_asks, 'time')} and not answered yet",
        COMMITTED: "it has confirmed that it keeps the object",
        UNCONFIRMED: f"it answered none of {_count(sent.commitment_asks, 'question')}",
    }.get(str(sent.commitment), str(sent.commitment))
    return f"{sent.kind} at {sent.destination}: {said}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
