"""What became of the cards: counts, shares with their intervals, and what another threshold would have done."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from cds.feedback.figures import Answered, ModelReport, Reason, Report, ShadowReport, Step
from clinical.proportion import Proportion
from record_store import feedback_tallies as tallies
from record_store import shadow_tallies
from record_store.feedback_tallies import Row, Span
from record_store.sent_cards import BINS

_Model = tuple[str, str | None, str | None]  # service, model, version


def report_of(conn: Connection, span: Span) -> Report:
    """Return the report of a span, from one snapshot of the store."""
    groups = tuple(_parted(row) for row in tallies.by_group(conn, span))
    held = tuple(tallies.suppressed(conn, span))
    return Report(span, groups, _models(conn, span, groups), held, _shadow(conn, span))


def _parted(row: Row) -> tuple[Row, Answered]:
    counted = {name: int(row.pop(name)) for name in ("sent", "accepted", "overridden", "replaced")}
    return row, Answered(**counted)


def _models(conn: Connection, span: Span, groups: Sequence[tuple[Row, Answered]]) -> tuple[ModelReport, ...]:
    whole: dict[_Model, Answered] = defaultdict(Answered)
    for row, answered in groups:
        whole[_model(row)] = _sum((whole[_model(row)], answered))
    reasons, scores, outcomes = (
        _by_model(rows(conn, span)) for rows in (tallies.by_reason, tallies.by_score, tallies.by_outcome)
    )
    return tuple(
        ModelReport(
            service=model[0],
            model=model[1],
            model_version=model[2],
            answered=answered,
            reasons=tuple(Reason(r["reason_system"], r["reason_code"], int(r["count"])) for r in reasons[model]),
            what_if=_what_if(scores[model], outcomes[model]),
            outcomes=_known(outcomes[model]),
        )
        for model, answered in whole.items()
    )


def _known(rows: Sequence[Row]) -> Proportion:
    return Proportion(sum(int(row["happened"]) for row in rows), sum(int(row["cards"]) for row in rows))


def _what_if(scores: Sequence[Row], outcomes: Sequence[Row]) -> tuple[Step, ...]:
    """Return a step for each twentieth from the lowest score that was sent on: what lies below was never shown."""
    if not scores:
        return ()
    lowest, highest = (edge(row["score_bin"] for row in scores) for edge in (min, max))
    return tuple(_step(start, scores, outcomes) for start in range(lowest, highest + 1))


def _step(start: int, scores: Sequence[Row], outcomes: Sequence[Row]) -> Step:
    counted = ("sent", "accepted", "overridden")
    above = [Answered(**{name: int(row[name]) for name in counted}) for row in scores if row["score_bin"] >= start]
    known = [row for row in outcomes if row["score_bin"] is not None and row["score_bin"] >= start]
    return Step(start / BINS, _sum(above), _known(known))


def _shadow(conn: Connection, span: Span) -> tuple[ShadowReport, ...]:
    calls = _grouped(shadow_tallies.shadow_calls(conn, span))
    outcomes = _grouped(shadow_tallies.shadow_outcomes(conn, span))
    against = _grouped(shadow_tallies.shadow_against_live(conn, span))
    return tuple(
        ShadowReport(
            service=service,
            calls=sum(row["calls"] for row in rows),
            spoke=sum(int(row["spoke"]) for row in rows),
            failed={row["problem"]: row["calls"] for row in rows if row["problem"] is not None},
            by_outcome={(row["spoke"], row["happened"]): row["patients"] for row in outcomes[service]},
            against=tuple({k: v for k, v in row.items() if k != "service"} for row in against[service]),
        )
        for service, rows in calls.items()
    )


def _sum(parts: Iterable[Answered]) -> Answered:
    parts = tuple(parts)
    return Answered(
        *(sum(getattr(part, name) for part in parts) for name in ("sent", "accepted", "overridden", "replaced"))
    )


def _model(row: Row) -> _Model:
    return row["service"], row["model"], row["model_version"]


def _by_model(rows: Iterable[Row]) -> dict[_Model, list[Row]]:
    table: dict[_Model, list[Row]] = defaultdict(list)
    for row in rows:
        table[_model(row)].append(row)
    return table


def _grouped(rows: Iterable[Row]) -> dict[str, list[Row]]:
    table: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        table[row["service"]].append(row)
    return table
