"""The fingerprint of what a model read, so that the same question asked twice is seen to be the same."""

import hashlib
import math
from collections.abc import Mapping

import orjson

from clinical.finding import ModelRef


def input_hash(model: ModelRef, values: Mapping[str, object]) -> str:
    """Return the sha256 (hexadecimal) of the model's digest and its inputs; what is not known (NaN) is no input.

    values: name -> number, text, or a collection of texts, in any order.
    """
    told = {name: _plain(value) for name, value in values.items() if not _unknown(value)}
    said = orjson.dumps({"model": model.digest, "inputs": told}, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(said).hexdigest()


def _unknown(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(value: object) -> object:
    if isinstance(value, frozenset | set):
        return sorted(map(str, value))
    return value if isinstance(value, str | int | float) else str(value)
