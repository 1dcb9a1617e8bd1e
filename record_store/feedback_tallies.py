"""Counts of cards, feedback and outcomes, grouped by the database; `cds.feedback.report` says what they mean.

A card's report is its last one by the client's time. Cards of shadow mode are counted apart, in
`record_store.shadow_tallies`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Subquery, and_, case, func, select
from sqlalchemy.sql.selectable import NamedFromClause

from record_store.tables import audit, card_outcome, feedback, sent_card
from record_store.times import to_text

Row = dict[str, Any]
_ACCEPTED, _OVERRIDDEN = "accepted", "overridden"
_BY_MODEL = (sent_card.c.service, sent_card.c.model, sent_card.c.model_version)


@dataclass(frozen=True, slots=True)
class Span:
    """Which cards: sent from `since` until before `until`; the other fields narrow it when they are given."""

    since: datetime
    until: datetime
    service: str | None = None
    hook: str | None = None
    model_version: str | None = None
    client: str | None = None

    def of(self, *, shadow: bool = False) -> ColumnElement[bool]:
        """Return the condition on `sent_card`."""
        narrow = [
            sent_card.c[name] == value
            for name in ("service", "hook", "model_version", "client")
            if (value := getattr(self, name)) is not None
        ]
        return and_(
            sent_card.c.sent_at >= to_text(self.since),
            sent_card.c.sent_at < to_text(self.until),
            sent_card.c.shadow == int(shadow),
            *narrow,
        )


def by_group(conn: Connection, span: Span) -> list[Row]:
    """Return rows of service, hook, model, model_version, threshold, issuer, client, sent, accepted, overridden,
    replaced (without a report, and a later card stood for it).
    """
    columns = [sent_card.c[name] for name in ("service", "hook", "model", "model_version", "threshold")]
    columns += [sent_card.c.issuer, sent_card.c.client]
    (last, its), later = last_report(), _replaced(span)
    query = (
        select(
            *columns,
            func.count().label("sent"),
            sum_of(last.c.outcome == _ACCEPTED).label("accepted"),
            sum_of(last.c.outcome == _OVERRIDDEN).label("overridden"),
            sum_of(and_(last.c.outcome.is_(None), later.c.replaces.is_not(None))).label("replaced"),
        )
        .select_from(sent_card.outerjoin(last, its).outerjoin(later, later.c.replaces == sent_card.c.card))
        .where(span.of())
        .group_by(*columns)
        .order_by(*columns)
    )
    return rows_of(conn, query)


def by_reason(conn: Connection, span: Span) -> list[Row]:
    """Return rows of service, model, model_version, reason_system, reason_code (None: no coded one), count."""
    last, its = last_report()
    columns = [*_BY_MODEL, last.c.reason_system, last.c.reason_code]
    query = select(*columns, func.count().label("count")).select_from(sent_card.outerjoin(last, its))
    query = query.where(span.of(), last.c.outcome == _OVERRIDDEN).group_by(*columns)
    return rows_of(conn, query.order_by(*_BY_MODEL, func.count().desc(), last.c.reason_code))


def by_score(conn: Connection, span: Span) -> list[Row]:
    """Return rows of service, model, model_version, score_bin, sent, accepted, overridden."""
    last, its = last_report()
    columns = [*_BY_MODEL, sent_card.c.score_bin]
    query = (
        select(
            *columns,
            func.count().label("sent"),
            sum_of(last.c.outcome == _ACCEPTED).label("accepted"),
            sum_of(last.c.outcome == _OVERRIDDEN).label("overridden"),
        )
        .select_from(sent_card.outerjoin(last, its))
        .where(span.of(), sent_card.c.score_bin.is_not(None))
        .group_by(*columns)
        .order_by(*columns)
    )
    return rows_of(conn, query)


def by_outcome(conn: Connection, span: Span, *, shadow: bool = False) -> list[Row]:
    """Return rows of service, model, model_version, score_bin, cards, happened: cards whose outcome is known.

    An outcome of the card counts before one of its patient and service, which must have been seen after the card.
    """
    own, whose = card_outcome.alias("own"), card_outcome.alias("whose")
    of_patient = and_(
        whose.c.patient_key == sent_card.c.patient_key,
        whose.c.service == sent_card.c.service,
        whose.c.observed_at >= sent_card.c.sent_at,
    )
    joined = sent_card.outerjoin(own, own.c.card == sent_card.c.card).outerjoin(whose, of_patient)
    happened = func.coalesce(own.c.happened, whose.c.happened)
    columns = [*_BY_MODEL, sent_card.c.score_bin]
    query = select(*columns, func.count().label("cards"), func.sum(happened).label("happened"))
    query = query.select_from(joined).where(span.of(shadow=shadow), happened.is_not(None)).group_by(*columns)
    return rows_of(conn, query.order_by(*columns))


def comments(conn: Connection, span: Span, limit: int) -> list[Row]:
    """Return the newest reports with free text: it may hold anything about a patient."""
    columns = (feedback.c.received_at, sent_card.c.service, feedback.c.card, feedback.c.outcome)
    query = select(*columns, feedback.c.reason_code, feedback.c.user_comment)
    query = query.join_from(feedback, sent_card, feedback.c.card == sent_card.c.card)
    query = query.where(span.of(), feedback.c.user_comment.is_not(None))
    return rows_of(conn, query.order_by(feedback.c.row.desc()).limit(limit))


def suppressed(conn: Connection, span: Span) -> list[Row]:
    """Return rows of service, reason, count: what alert hygiene held back."""
    condition = and_(
        audit.c.action == "card-suppressed", audit.c.at >= to_text(span.since), audit.c.at < to_text(span.until)
    )
    if span.service is not None:
        condition = and_(condition, audit.c.actor == f"service:{span.service}")
    columns = (audit.c.actor, audit.c.outcome)
    query = select(*columns, func.count().label("count")).where(condition).group_by(*columns).order_by(*columns)
    return [
        {"service": row["actor"].removeprefix("service:"), "reason": row["outcome"], "count": row["count"]}
        for row in rows_of(conn, query)
    ]


def last_report() -> tuple[NamedFromClause, ColumnElement[bool]]:
    """Return the last report of a card, by the client's time, and the condition that joins it to `sent_card`.

    By a subquery for each card and not by ranking all reports: SQLite joins a ranked list without an index, row by
    row (more than a minute at 100,000 cards; this way a second).
    """
    one, last = feedback.alias("one"), feedback.alias("last")
    newest = (
        select(one.c.row)
        .where(one.c.card == sent_card.c.card)
        .order_by(one.c.outcome_at.desc(), one.c.row.desc())
        .limit(1)
        .correlate(sent_card)
        .scalar_subquery()
    )
    return last, last.c.row == newest


def _replaced(span: Span) -> Subquery:
    named = and_(sent_card.c.replaces.is_not(None), sent_card.c.sent_at >= to_text(span.since))
    return select(sent_card.c.replaces).where(named).distinct().subquery("later")


def sum_of(condition: ColumnElement[bool]) -> ColumnElement[int]:
    """Return how many rows of a group meet a condition."""
    return func.sum(case((condition, 1), else_=0))


def rows_of(conn: Connection, query: Select[Any]) -> list[Row]:
    """Return what a query finds."""
    found: Sequence[Any] = conn.execute(query).mappings().all()
    # SQLAlchemy's names are a kind of str that orjson refuses as a key.
    return [{str(name): value for name, value in row.items()} for row in found]
