"""What was ordered, which priors were fetched, which steps ask for it: words for `consilium study explain`."""

from collections.abc import Sequence

from record_store.audit import digest
from record_store.priors import ASKED, FETCHED, PriorRow
from record_store.study_orders import StudyOrder
from record_store.workitems import WorkitemRow

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
    if order.several:
        return ("order: its accession number was ordered for different patients",)
    side = {"L": ", left", "R": ", right", "B": ", both sides"}.get(order.side, "")
    if not order.orders:
        known = "the worklist knows none of it" if not order.problem else "none is taken"
        return (f"order: {known}{_why(order.problem)}",)
    by = order.found_by or "accession number"  # of a study that was asked about before this was written down
    kept = f"; {order.kept}" if order.kept else ""
    return (f"order: {order.orders} scheduled, found by {by}{side}{kept}{_why(order.problem)}",)


def workitems_in_words(rows: Sequence[WorkitemRow]) -> tuple[str, ...]:
    """Return a line for each step of a worklist elsewhere that the study is the input of."""
    return tuple(
        f"workitem {digest(one.workitem_uid)} of {one.worklist}, by rule {one.rule!r}: {one.state}"
        + (f", {one.outputs} results named" if one.outputs else "")
        + _why(one.why)
        for one in rows
    )


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
