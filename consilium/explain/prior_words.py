"""What was ordered, which priors were asked for and fetched: in words for `consilium study explain`."""

from collections.abc import Sequence

from record_store.audit import digest
from record_store.priors import ASKED, FETCHED, PriorRow
from record_store.study_orders import StudyOrder

_STATES = {"asking": "is being asked", "wanted": "is to come", "fetching": "is coming", "failed": "did not come"}


def priors_in_words(rows: Sequence[PriorRow]) -> tuple[str, ...]:
    """Return a line for the question and one for each prior; none when nobody asked."""
    return tuple(_question(one) if not one.prior_uid else _prior(one) for one in rows)


def order_in_words(order: StudyOrder | None) -> tuple[str, ...]:
    """Return a line about what the worklist said; none when nobody asked."""
    if order is None:
        return ()
    if order.state != "asked":
        return (
            f"order: the worklist {'did not answer' if order.problem else 'is being asked'}" + _why(order.problem),
        )
    if order.stranger:
        return ("order: its accession number was ordered for another patient",)
    side = {"L": ", left", "R": ", right", "B": ", both sides"}.get(order.side, "")
    return (f"order: {order.orders} scheduled under its accession number{side}",)


def _why(problem: str | None) -> str:
    return f" ({problem})" if problem else ""


def _question(one: PriorRow) -> str:
    said = f"priors: {one.archive} asked by rule {one.rule!r}"
    if one.state == ASKED:
        return f"{said}, it knows {one.objects} studies of this patient"
    return f"{said}: {one.problem or _STATES[one.state]}"


def _prior(one: PriorRow) -> str:
    name = f"prior {digest(one.prior_uid)} of {one.archive}"
    if one.state == FETCHED:
        return f"{name}: fetched, {one.objects} objects"
    return f"{name}: {_STATES[one.state]}" + (f" ({one.problem})" if one.problem else "")
