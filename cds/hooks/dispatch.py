"""The two forms of the order-dispatch context: 1.0 (`order`, `task`) reads as 1.1 (lists of one)."""

from collections.abc import Mapping
from typing import Any

from cds.hooks.fields import read_reference, read_resource, wrong

_PAIRS = (("order", "dispatchedOrders"), ("task", "fulfillmentTasks"))


def one_form(context: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the context in the 1.1 form; what was sent stays in it beside.

    Raises IncorrectInput when both forms are there and do not say the same, or the 1.0 form is malformed.
    """
    whole = dict(context)
    for old, new in _PAIRS:
        if old not in context:
            continue
        _check(old, context[old])
        if new not in context:
            whole[new] = [context[old]]
        elif context[new] != [context[old]]:
            raise wrong(f"context.{old}", f"expected the same as context.{new}, or only one of the two")
    return whole


def _check(name: str, value: object) -> None:
    """Refuse here what is wrong with the 1.0 form, so that the path is the one that was sent."""
    if name == "order":
        read_reference(value, "context.order")
    else:
        read_resource(value, "context.task", ("Task",))
