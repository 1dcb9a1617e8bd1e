"""What an operation is asked with: the query string of a GET, or Parameters in a POST (R4 3.2.0.2)."""

from flask import request

from clinical.errors import IncorrectInput
from fhir_adapters.parameters import Parameter, parameters_in
from fhir_adapters.rest.negotiate import read_json_body
from fhir_adapters.strict_json import load_object

MAX_PARAMETERS_BYTES = 64 * 1024

Pairs = list[tuple[str, str]]


def asked_by_get() -> Pairs:
    """Return the parameters of the query string."""
    return list(request.args.items(multi=True))


def asked_by_parameters() -> Pairs:
    """Return those of the query string and of the body's Parameters: simple values, as a query has them."""
    pairs = asked_by_get()
    if not request.content_length:
        return pairs
    sent = load_object(read_json_body(request, MAX_PARAMETERS_BYTES))
    return [*pairs, *map(_pair, parameters_in(sent))]


def _pair(one: Parameter) -> tuple[str, str]:
    values = list(one.values.values())
    if len(values) != 1 or not isinstance(values[0], str | int | bool):
        raise IncorrectInput("each parameter has a name and one simple value", expression=[one.place])
    (value,) = values
    return one.name, str(value).lower() if isinstance(value, bool) else str(value)
