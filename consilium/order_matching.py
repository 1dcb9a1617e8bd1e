"""Which orders of a worklist are those of a study. Pure: what the study says and an answer in, a judgement out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from clinical.body_part import Agreement, agreement, parts_of
from clinical.days import day_of
from clinical.identity import IssuerTable
from dicom_node.query.worklist import MOST_STEPS, Order
from record_store.study_orders import Unordered

ACCESSION, STUDY, PROCEDURE, PATIENT = "accession number", "study", "requested procedure", "patient and day"
DAYS = 1  # between the day that a step is scheduled for and that of the images, when nothing else names the order

# What is in doubt, without a word of the order's or the images' own.
WRITTEN_OTHERWISE = "an order of its number or UID is not taken, as it identifies the patient in another way"
SEVERAL_FIT = "several orders may be meant, so none is taken"
MORE_THAN_ASKED = f"the patient has {MOST_STEPS} scheduled steps or more, so none is taken by its day"
PART_UNSAID = "an order of the day is not taken, as it or the images do not say which part of the body is meant"
OTHER_PART = "an order is not taken, as it names another part of the body: "
NAMES_ANOTHER = "the order names another part of the body: "


@dataclass(frozen=True, slots=True)
class Question:
    """What the worklist is asked. keys: arguments of `orders_of`. by: what names the order."""

    by: str
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Match:
    """theirs: the study's orders. stranger: all are for another patient. several: some are, and some are not.

    doubt: what a person should know of the orders that are theirs, or of those that were not taken.
    """

    by: str = ""
    theirs: tuple[Order, ...] = ()
    stranger: bool = False
    several: bool = False
    doubt: str = ""

    @property
    def answers(self) -> bool:
        """Whether nothing else has to be asked."""
        return bool(self.theirs) or self.stranger


def questions(one: Unordered) -> Iterator[Question]:
    """Yield what to ask, what names the order best first, until one answers.

    Study ID (0020,0010) is the Requested Procedure ID where images were made from a worklist (IHE RAD TF-2
    appendix A); both repeat, so the patient is asked for too. A study that has an accession number is not matched
    by day: its order is another than those of that day. Patient and day are no key of IHE's (unscheduled images
    are for people to reconcile): a worklist drops an order once it is performed, so the only one that is left of a
    day may well be another examination's. It is taken when it names the part of the body that the images show.
    """
    if one.accession_number:
        yield Question(ACCESSION, {"accession_number": one.accession_number})
    yield Question(STUDY, {"study_uid": one.study_uid})
    if one.patient_id and one.study_id:
        yield Question(PROCEDURE, {"patient_id": one.patient_id, "requested_procedure_id": one.study_id})
    if one.patient_id and not one.accession_number:
        yield Question(PATIENT, {"patient_id": one.patient_id})


def matched(one: Unordered, asked: Question, orders: Sequence[Order], issuers: IssuerTable) -> Match:
    """Return what an answer says of a study. A number that the images state names its order, whatever part of the
    body that is for; what is found without one is taken only when nothing speaks against it.

    Orders of the same patient number that state another issuer are another patient's.
    """
    theirs = tuple(order for order in orders if is_theirs(one, order, issuers))
    if asked.by == PATIENT:
        return _of_the_day(one, theirs) if len(orders) < MOST_STEPS else Match(PATIENT, doubt=MORE_THAN_ASKED)
    if asked.by == PROCEDURE:
        return _one_of(PROCEDURE, one, theirs)
    others = [order for order in orders if is_for_another(one, order, issuers)]
    stranger = bool(orders) and len(others) == len(orders)
    doubt = _apart(one, theirs, NAMES_ANOTHER) if theirs else ""
    if orders and not (theirs or stranger):
        doubt = WRITTEN_OTHERWISE
    return Match(asked.by, theirs, stranger=stranger, several=bool(theirs and others), doubt=doubt)


def _of_the_day(one: Unordered, theirs: Sequence[Order]) -> Match:
    found = _one_of(PATIENT, one, of_that_day(one, theirs))
    if not found.theirs or _agreement(one, found.theirs) is Agreement.SAME:
        return found
    return Match(PATIENT, doubt=PART_UNSAID)


def _one_of(by: str, one: Unordered, steps: Sequence[Order]) -> Match:
    """Return the one order that may be meant: which of several, nobody says. steps: of any orders."""
    orders: dict[tuple[str, ...], list[Order]] = {}
    for step in steps:
        orders.setdefault(_name(step), []).append(step)
    fit = [order for order in orders.values() if _agreement(one, order) is not Agreement.OTHER]
    if len(fit) == 1:
        return Match(by, tuple(fit[0]))
    return Match(by, doubt=SEVERAL_FIT if fit else _apart(one, steps, OTHER_PART))


def _name(order: Order) -> tuple[str, ...]:
    """Return what tells an order from others; an accession number that is not there makes no two orders one."""
    return (order.accession_number,) if order.accession_number else (order.study_uid, order.requested_procedure_id)


def _agreement(one: Unordered, steps: Sequence[Order]) -> Agreement:
    return agreement(parts_of(one.shows), _ordered(steps))


def _apart(one: Unordered, steps: Sequence[Order], words: str) -> str:
    if _agreement(one, steps) is not Agreement.OTHER:
        return ""
    ordered, shown = (", ".join(sorted(parts)) for parts in (_ordered(steps), parts_of(one.shows)))
    return f"{words}{ordered}, the images {shown}"


def _ordered(steps: Sequence[Order]) -> frozenset[str]:
    """Return the parts that words and the meanings of codes name, of the requested procedure and the step."""
    codes = [code for step in steps for code in (*step.codes, *step.step_codes)]
    words = [text for step in steps for text in (step.description, step.step_description)]
    return parts_of([*words, *(code.meaning for code in codes)])


def is_theirs(one: Unordered, order: Order, issuers: IssuerTable) -> bool:
    """Tell whether an order is for the study's patient; one that states no issuer is believed by its number."""
    if order.patient_id != one.patient_id:
        return False
    return not order.issuer_of_patient_id or one.patient is None or is_surely_theirs(one, order, issuers)


def is_surely_theirs(one: Unordered, order: Order, issuers: IssuerTable) -> bool:
    """Tell whether number and issuer are the study's: what is written into a chart needs both."""
    return (
        one.patient is not None and issuers.from_dicom(order.issuer_of_patient_id, order.patient_id) == one.patient
    )


def is_for_another(one: Unordered, order: Order, issuers: IssuerTable) -> bool:
    """Tell whether an order is for somebody else: another identifier and another birth date.

    An identifier alone may be written in another way there; such an order is not believed, and that is all.
    """
    return (
        not is_theirs(one, order, issuers)
        and bool(order.patient_birth_date and one.patient_birth_date)
        and order.patient_birth_date != one.patient_birth_date
    )


def of_that_day(one: Unordered, orders: Sequence[Order]) -> tuple[Order, ...]:
    """Return the orders of the images' modality and day."""
    made = day_of(one.study_date)
    return tuple(
        order
        for order in orders
        if order.modality in one.modalities
        and made is not None
        and (due := day_of(order.scheduled_date)) is not None
        and abs((due - made).days) <= DAYS
    )


def side_ordered(orders: Sequence[Order]) -> str:
    """Return the one side that all orders name, "" when there is none or they differ."""
    sides = {order.side for order in orders}
    return sides.pop() if len(sides) == 1 else ""
