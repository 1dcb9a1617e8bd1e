"""A data set as DICOM JSON (PS3.18 annex F), with large binary values as BulkDataURI (F.2.2)."""

import re
import warnings
from typing import Any

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from clinical.errors import IncorrectInput
from dicom_node.decoder_errors import DECODER_ERRORS

Json = dict[str, Any]

INLINE_BYTES = 1024  # a binary value that is longer is asked for by its address
BINARY = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_NUMBERS = frozenset(("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"))
_WHOLE = re.compile(r"[+-]?[0-9]{1,12}")
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)


def element_json(element: DataElement) -> Json | None:
    """Return one element that is no sequence and not binary; None for those. Raises what pydicom raises."""
    if element.VR == "SQ" or element.VR in BINARY or " or " in element.VR:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return element.to_json_dict(None, INLINE_BYTES)


def value_json(vr: str, text: str) -> Json:
    """Return an element of decoded text, several values joined by a backslash (F.2.3), numbers as such."""
    values: list[Any] = [one.strip() for one in text.split("\\")] if text else []
    if vr == "PN":
        groups = ("Alphabetic", "Ideographic", "Phonetic")
        values = [
            {group: part for group, part in zip(groups, one.split("="), strict=False) if part} for one in values
        ]
    elif vr in _NUMBERS:
        values = [int(one) for one in values if _WHOLE.fullmatch(one)]
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def dataset_json(ds: Dataset, bulk: str) -> Json:
    """Return a data set. bulk: the address below which its large values are, one path segment a level.

    A value that cannot be written as JSON (not a number, a broken character set) is left out: a client would
    refuse the whole answer for it. Group lengths and the file meta group are not part of the model. Whoever calls
    silences warnings: they quote values.
    """
    found: Json = {}
    for tag in sorted(ds.keys()):
        if tag.element == 0 or tag.group in {0x0002, 0xFFFE} or tag in PIXELS:
            continue
        name = f"{tag:08X}"
        left = _left_on_disk(ds, tag)
        if left is not None:
            found[name] = {"vr": left, "BulkDataURI": f"{bulk}/{name}"}
            continue
        try:
            made = _element(ds[tag], f"{bulk}/{name}")
        except DECODER_ERRORS:
            continue
        found[name] = made
    return found


def _left_on_disk(ds: Dataset, tag: int) -> str | None:
    """Return the VR of a binary value that is long and was not read yet."""
    raw: Any = ds.get_item(tag, keep_deferred=True)
    if not isinstance(raw, RawDataElement) or raw.value is not None or raw.length <= INLINE_BYTES:
        return None
    vr = raw.VR or (dictionary_VR(tag) if dictionary_has_tag(tag) else "UN")
    return vr if vr in BINARY else None


def _element(element: DataElement, bulk: str) -> Json:
    if element.VR == "SQ":
        items = [dataset_json(item, f"{bulk}/{number}") for number, item in enumerate(element.value)]
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
    if element.VR in BINARY:
        if len(element.value or b"") > INLINE_BYTES:
            return {"vr": element.VR, "BulkDataURI": bulk}
    elif " or " in element.VR:  # pydicom could not tell which; these are words of 16 bits
        return {"vr": "OW", "BulkDataURI": bulk}
    made: Json = element.to_json_dict(None, INLINE_BYTES)
    if made["vr"] in _NUMBERS:
        made = {"vr": made["vr"], "Value": [_number(one) for one in made["Value"]]} if "Value" in made else made
    return made


def _number(value: Any) -> int | float | None:  # noqa: ANN401 - what pydicom holds
    """Return a plain number: pydicom's own keep their text, which JSON has no room for."""
    if value is None or value == "":
        return None
    if isinstance(value, int):
        return int(value)
    number = float(value)
    if number != number or number in {float("inf"), float("-inf")}:  # noqa: PLR0124 - that is how NaN is told
        return None
    return number


def named_element(ds: Dataset, path: str) -> DataElement:
    """Return the element that a bulk data path names: TAG, or TAG/item/TAG and so on. Raises IncorrectInput."""
    parts = path.split("/")
    try:
        for tag, number in zip(parts[0:-1:2], parts[1:-1:2], strict=True):
            ds = ds[int(tag, 16)].value[int(number)]
        return ds[int(parts[-1], 16)]
    except DECODER_ERRORS:
        raise IncorrectInput("the address names no value of the object") from None
