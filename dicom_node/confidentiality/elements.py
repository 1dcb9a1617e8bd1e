"""The attributes of a data set, one by one and at every depth, as the table wants them. Pure."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from clinical.destination_pseudonyms import Pseudonyms
from dicom_node.confidentiality.actions import Action, Options, action_of
from dicom_node.confidentiality.values import REMOVED, age_kept, cleaned, dummy, shifted

TEXTS = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
_LONG_TEXTS = frozenset(("LT", "ST", "UC", "UT"))
_PROCEDURE_STEP = 0x00081111  # X/Z/D, and type 2 in reports (PS3.3 C.17.1)
_BULK = frozenset(("OB", "OD", "OF", "OL", "OV", "OW"))


@dataclass(slots=True)
class Work:
    """One object's way. patient: as `patient_of` names it. uids: original -> pseudonym, what was mapped so far."""

    names: Pseudonyms
    options: Options
    patient: str
    uids: dict[str, str] = field(default_factory=dict)

    def uid(self, original: str) -> str:
        """Return the UID that stands for this one."""
        made = self.names.uid(original)
        if made != original:
            self.uids[original] = made
        return made


def cleaned_dataset(source: Dataset, work: Work, *, content: bool = False) -> Dataset:
    """Return a copy in which nothing is left that the profile takes away. content: it is part of a report."""
    made = Dataset()
    for element in source:
        if element.tag.group <= 0x0002 or element.tag.element == 0:
            continue
        action = action_of(element.tag, element.VR, work.options)
        if action is Action.REMOVE:
            continue
        if element.VR == "SQ":
            done = _sequence(element, action, work, content=content)
        else:
            done = _value(element, _in_report(element, action) if content else action, work)
        if done is not None:
            made.add(done)
    return made


def _in_report(element: DataElement, action: Action) -> Action:
    # PS3.15 E.3.4, Clean Structured Content: what somebody wrote is a description, wherever it stands.
    return Action.CLEAN if element.VR in _LONG_TEXTS else action


def _sequence(element: DataElement, action: Action, work: Work, *, content: bool) -> DataElement | None:
    if action is Action.EMPTY or element.tag == _PROCEDURE_STEP:
        return DataElement(element.tag, "SQ", Sequence([]))
    if action is Action.DUMMY:
        return None  # of people and flows: a dummy item would say that there was one
    inside = content or action is Action.CLEAN
    items = [cleaned_dataset(item, work, content=inside) for item in element.value]
    return DataElement(element.tag, "SQ", Sequence(items))


def _value(element: DataElement, action: Action, work: Work) -> DataElement | None:
    tag, vr, value = element.tag, element.VR, element.value
    match action:
        case Action.EMPTY:
            return DataElement(tag, vr, "" if vr in TEXTS else None)
        case Action.DUMMY:
            made = dummy(vr)
            return None if made is None else DataElement(tag, vr, made)
        case Action.MAP_UID:
            return DataElement(tag, vr, _each(value, work.uid))
        case Action.SHIFT:
            days = work.names.shift_days(work.patient)
            return DataElement(tag, vr, _each(value, lambda one: shifted(one, vr, days)))
        case Action.CLEAN:
            return DataElement(tag, vr, _each(value, lambda one: cleaned(one) or REMOVED))
        case _:
            return _kept(element)


def _kept(element: DataElement) -> DataElement:
    tag, vr, value = element.tag, element.VR, element.value
    if vr == "AS":
        return DataElement(tag, vr, _each(value, age_kept))
    if vr == "PN":
        return DataElement(tag, vr, "")  # a name that the table does not know is a name all the same
    if vr in _BULK:
        kept = DataElement(tag, vr, value)
        kept.is_undefined_length = element.is_undefined_length  # encapsulated frames stay so
        return kept
    return DataElement(tag, vr, deepcopy(value))


def _each(value: Any, change: Callable[[str], str]) -> Any:  # noqa: ANN401 - one value or several
    if value is None or value == "":
        return value
    return [change(str(one)) for one in value] if isinstance(value, MultiValue | list) else change(str(value))
