"""Counts of what services in shadow mode would have said, beside what happened and what clinicians said."""

from sqlalchemy import ColumnElement, Connection, and_, case, func, select

from record_store.feedback_tallies import Row, Span, last_report, rows_of, sum_of
from record_store.tables import card_outcome, sent_card, shadow_call
from record_store.times import to_text


def shadow_calls(conn: Connection, span: Span) -> list[Row]:
    """Return rows of service, problem (None: it answered), calls, spoke (calls with a card)."""
    columns = (shadow_call.c.service, shadow_call.c.problem)
    query = select(*columns, func.count().label("calls"), sum_of(shadow_call.c.cards > 0).label("spoke"))
    return rows_of(conn, query.where(_shadow(span)).group_by(*columns).order_by(*columns))


def shadow_outcomes(conn: Connection, span: Span) -> list[Row]:
    """Return rows of service, spoke (0, 1), happened (0, 1), patients: by patient, whose outcome came later."""
    service, patient = shadow_call.c.service, shadow_call.c.patient_key
    of_patient = (
        select(
            service, patient, func.max(shadow_call.c.cards).label("cards"), func.min(shadow_call.c.at).label("at")
        )
        .where(_shadow(span), shadow_call.c.problem.is_(None))
        .group_by(service, patient)
        .subquery()
    )
    spoke = case((of_patient.c.cards > 0, 1), else_=0)
    columns = (of_patient.c.service, spoke.label("spoke"), card_outcome.c.happened)
    joined = and_(
        card_outcome.c.patient_key == of_patient.c.patient_key,
        card_outcome.c.service == of_patient.c.service,
        card_outcome.c.observed_at >= of_patient.c.at,
    )
    query = select(*columns, func.count().label("patients")).join_from(of_patient, card_outcome, joined)
    return rows_of(conn, query.group_by(of_patient.c.service, spoke, card_outcome.c.happened).order_by(*columns))


def shadow_against_live(conn: Connection, span: Span) -> list[Row]:
    """Return rows of service, live (a service), spoke (0, 1), outcome, cards.

    Each card of a live service with a report, beside what the shadowed service said about the same patient on the
    same day (UTC): would it have spoken too?
    """
    day = func.substr(shadow_call.c.at, 1, 10)
    said = (
        select(
            shadow_call.c.service,
            shadow_call.c.patient_key,
            day.label("day"),
            func.max(shadow_call.c.cards).label("cards"),
        )
        .where(_shadow(span), shadow_call.c.problem.is_(None))
        .group_by(shadow_call.c.service, shadow_call.c.patient_key, day)
        .subquery()
    )
    anywhere = Span(span.since, span.until).of()
    last, its = last_report()
    spoke = case((said.c.cards > 0, 1), else_=0)
    beside = and_(
        said.c.patient_key == sent_card.c.patient_key, said.c.day == func.substr(sent_card.c.sent_at, 1, 10)
    )
    columns = (said.c.service, sent_card.c.service.label("live"), spoke.label("spoke"), last.c.outcome)
    joined = sent_card.join(last, its).join(said, beside)
    query = select(*columns, func.count().label("cards")).select_from(joined).where(anywhere)
    groups = (said.c.service, sent_card.c.service, spoke, last.c.outcome)
    return rows_of(conn, query.group_by(*groups).order_by(*groups))


def _shadow(span: Span) -> ColumnElement[bool]:
    narrow = [shadow_call.c.service == span.service] if span.service is not None else []
    return and_(shadow_call.c.at >= to_text(span.since), shadow_call.c.at < to_text(span.until), *narrow)
