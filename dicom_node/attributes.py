"""Numbers out of a data set that may hold anything. Runs in the decoder's child process."""

import math

from pydicom.dataset import Dataset

from clinical.errors import IncorrectInput


def integer(ds: Dataset, keyword: str, otherwise: int) -> int:
    """Return a whole number, `otherwise` where it is absent or empty; IncorrectInput when it is none."""
    value = ds.get(keyword)
    if value is None or value == "":
        return otherwise
    try:
        return int(value)
    except (TypeError, ValueError):
        raise IncorrectInput(f"{keyword} is not a number") from None


def numbers(ds: Dataset, keyword: str) -> list[float]:
    """Return the finite numbers of an attribute; none when it is absent, or when one of them is no number."""
    value = ds.get(keyword)
    if value is None or value == "":
        return []
    try:
        several = [float(one) for one in (value if not isinstance(value, (str, int, float)) else [value])]
    except (TypeError, ValueError):
        return []
    return several if all(math.isfinite(one) for one in several) else []
