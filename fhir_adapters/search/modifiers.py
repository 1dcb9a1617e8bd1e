"""What a parameter of each kind asks, plainly and with each modifier that R4 has for it (3.1.1.4.2)."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from clinical import icd_10_cm
from clinical.codes import ICD_10_CM
from clinical.errors import IncorrectInput
from fhir_adapters.definitions.structure import value_set
from fhir_adapters.search import values
from fhir_adapters.search.escapes import alternatives, split, unescaped
from fhir_adapters.search.parameters import Kind, SearchParameter, TypeSearch
from fhir_adapters.search.tokens import BY_IDENTIFIER, OF_TYPE
from record_store.criteria import (
    AnyOf,
    Criterion,
    DateIn,
    Not,
    PatientIn,
    Present,
    QuantityIn,
    ReferenceIn,
    RowCriterion,
    Rows,
    SamePart,
    StringContains,
    StringIs,
    StringStarts,
    TokenBelow,
    TokenIn,
    TokenText,
    UriIn,
)

MAX_CODES = 400  # of a value set in one search
_ROWS = {
    Kind.TOKEN: Rows.TOKEN,
    Kind.STRING: Rows.STRING,
    Kind.DATE: Rows.DATE,
    Kind.REFERENCE: Rows.REFERENCE,
    Kind.QUANTITY: Rows.QUANTITY,
    Kind.NUMBER: Rows.QUANTITY,
    Kind.URI: Rows.URI,
}


def unmodified(
    search: TypeSearch, parameter: SearchParameter, modifier: str, value: str, base_url: str, now: datetime | None
) -> Criterion:
    """Return what a parameter asks without a modifier, or a reference with the type that it demands."""
    found = alternatives(parameter.name, value)
    if parameter.kind is Kind.REFERENCE:
        return _references(search, parameter, found, modifier, base_url)
    if parameter.kind is Kind.COMPOSITE:
        joined = tuple(_composite(search, parameter, each, base_url, now) for each in found)
        return joined[0] if len(joined) == 1 else AnyOf(joined)
    hot = parameter.name == search.hot_code
    return _row(parameter, found, base_url, now, hot=hot)


def _row(
    parameter: SearchParameter, found: list[str], base_url: str, now: datetime | None, *, hot: bool = False
) -> RowCriterion:
    """Return what a parameter of one row asks."""
    name, rows = parameter.name, parameter.index_name
    match parameter.kind:
        case Kind.TOKEN:
            return TokenIn(rows, tuple(values.token(name, each) for each in found), hot)
        case Kind.STRING:
            return StringStarts(rows, tuple(values.string(name, each) for each in found))
        case Kind.DATE:
            return DateIn(rows, tuple(values.date(name, each, now) for each in found))
        case Kind.NUMBER:
            return QuantityIn(rows, tuple(values.number(name, each) for each in found))
        case Kind.QUANTITY:
            return QuantityIn(rows, tuple(values.quantity(name, each) for each in found))
        case Kind.URI:
            return UriIn(rows, tuple(unescaped(each) for each in found))
        case Kind.REFERENCE:
            return ReferenceIn(rows, tuple(values.reference(parameter, each, "", base_url) for each in found))
        case Kind.COMPOSITE:
            raise IncorrectInput(f"{name} joins others itself", expression=[name])


def _references(
    search: TypeSearch, parameter: SearchParameter, found: list[str], modifier: str, base_url: str
) -> Criterion:
    if modifier and parameter.targets and modifier not in (parameter.only or parameter.targets):
        raise IncorrectInput(f"{parameter.name} does not point to that type", expression=[parameter.name])
    named = [values.reference(parameter, each, modifier, base_url) for each in found]
    # Rows that answer several parameters hold references to other types as well.
    meant = tuple(one for one in named if not parameter.only or one[0] in (*parameter.only, ""))
    if not meant:
        return AnyOf(())
    if parameter.name in search.hot_patient and all(kind == "Patient" for kind, _ in meant):
        return PatientIn(tuple(target_id for _, target_id in meant))
    return ReferenceIn(parameter.index_name, meant)


def _composite(
    search: TypeSearch, parameter: SearchParameter, text: str, base_url: str, now: datetime | None
) -> Criterion:
    parts = split(text, "$")
    joined = [search.parameters[name] for name in parameter.components]
    if len(parts) != len(joined) or not all(parts):
        names = "$".join(parameter.components)
        raise IncorrectInput(f"{parameter.name} takes {names}", expression=[parameter.name])
    return SamePart(tuple(_row(one, [part], base_url, now) for one, part in zip(joined, parts, strict=True)))


def modified(parameter: SearchParameter, modifier: str, value: str) -> Criterion:
    """Return what a parameter asks with a modifier. Raises IncorrectInput for one that its kind does not have."""
    name = parameter.name
    if modifier == "missing" and parameter.kind is not Kind.COMPOSITE:
        present = _present(parameter)
        return Not(present) if values.flag(name, value) else present
    reading = _MODIFIERS.get(parameter.kind, {}).get(modifier)
    if reading is None:
        known = sorted(_MODIFIERS.get(parameter.kind, {}))
        raise IncorrectInput(
            f"{name} takes no such modifier",
            expression=[name],
            diagnostics=f"it takes: {', '.join(['missing', *known])}",
        )
    return reading(parameter, alternatives(name, value))


def _present(parameter: SearchParameter) -> Criterion:
    present = Present(parameter.index_name, _ROWS[parameter.kind], parameter.only and (*parameter.only, ""))
    if parameter.kind is not Kind.REFERENCE or parameter.only:  # nobody knows what type an identifier is of
        return present
    return AnyOf((present, Present(_beside(parameter, BY_IDENTIFIER), Rows.TOKEN)))


def _beside(parameter: SearchParameter, modifier: str) -> str:
    """Return the rows that a modifier has of its own."""
    return "|".join(f"{name}{modifier}" for name in parameter.rows)


def _tokens(parameter: SearchParameter, found: list[str]) -> TokenIn:
    return TokenIn(parameter.index_name, tuple(values.token(parameter.name, each) for each in found))


def _not(parameter: SearchParameter, found: list[str]) -> Criterion:
    return Not(_tokens(parameter, found))


def _of_type(parameter: SearchParameter, found: list[str]) -> Criterion:
    if all(place.type != "Identifier" for place in parameter.places):
        raise IncorrectInput(f"{parameter.name} is no identifier", expression=[parameter.name])
    typed = tuple(values.typed_identifier(parameter.name, each) for each in found)
    return TokenIn(_beside(parameter, OF_TYPE), typed)


def _in(parameter: SearchParameter, found: list[str]) -> TokenIn:
    """Return the codes of the value sets that R4 binds elements to; this server expands no others."""
    codes: list[tuple[str | None, str | None]] = []
    for url in found:
        known = value_set(unescaped(url).partition("|")[0])
        if not known:
            raise IncorrectInput(
                f"{parameter.name}: this server does not have that value set",
                expression=[parameter.name],
                diagnostics="it has the ones that R4 4.0.1 requires codes of, by http://hl7.org/fhir/ValueSet/…",
            )
        for system, listed in known.items():
            codes += [(system, None)] if listed is None else [(system, code) for code in sorted(listed)]
    if len(codes) > MAX_CODES:
        raise IncorrectInput(
            f"value sets of more than {MAX_CODES} codes are not searched", expression=[parameter.name]
        )
    return TokenIn(parameter.index_name, tuple(codes))


def _not_in(parameter: SearchParameter, found: list[str]) -> Criterion:
    return Not(_in(parameter, found))


def _codes_below(parameter: SearchParameter, found: list[str]) -> Criterion:
    return TokenBelow(parameter.index_name, ICD_10_CM, tuple(_in_hierarchy(parameter, each) for each in found))


def _codes_above(parameter: SearchParameter, found: list[str]) -> Criterion:
    codes = [code for each in found for code in _with_ancestors(_in_hierarchy(parameter, each))]
    return TokenIn(parameter.index_name, tuple((ICD_10_CM, code) for code in codes))


def _with_ancestors(code: str) -> list[str]:
    return [code, *icd_10_cm.ancestors(code)]


def _in_hierarchy(parameter: SearchParameter, text: str) -> str:
    """Return the code of the one system whose hierarchy is known here: codes begin as those above them do."""
    system, code = values.token(parameter.name, text)
    if system != ICD_10_CM or code is None or not icd_10_cm.is_code(code):
        raise IncorrectInput(
            f"{parameter.name}: this server knows the hierarchy of {ICD_10_CM}|code alone",
            expression=[parameter.name],
        )
    return code


def _no_hierarchy(parameter: SearchParameter, _found: list[str]) -> Criterion:
    raise IncorrectInput(f"{parameter.name}: this server knows no hierarchy of these", expression=[parameter.name])


def _texts(
    make: Callable[[str, tuple[str, ...]], Criterion], parameter: SearchParameter, found: list[str]
) -> Criterion:
    return make(parameter.index_name, tuple(values.string(parameter.name, each) for each in found))


def _exact(parameter: SearchParameter, found: list[str]) -> Criterion:
    return StringIs(parameter.index_name, tuple(unescaped(each) for each in found))


def _identifier(parameter: SearchParameter, found: list[str]) -> Criterion:
    wanted = tuple(values.token(parameter.name, each) for each in found)
    return TokenIn(_beside(parameter, BY_IDENTIFIER), wanted)


def _below(parameter: SearchParameter, found: list[str]) -> Criterion:
    uris = tuple(unescaped(each) for each in found)
    return UriIn(parameter.index_name, uris, tuple(f"{uri.rstrip('/')}/" for uri in uris))


def _above(parameter: SearchParameter, found: list[str]) -> Criterion:
    return UriIn(
        parameter.index_name, tuple(above for each in found for above in values.uris_above(unescaped(each)))
    )


_Reading = Callable[[SearchParameter, list[str]], Criterion]
_MODIFIERS: dict[Kind, dict[str, _Reading]] = {
    Kind.TOKEN: {
        "not": _not,
        "text": partial(_texts, TokenText),
        "in": _in,
        "not-in": _not_in,
        "of-type": _of_type,
        "above": _codes_above,
        "below": _codes_below,
    },
    Kind.STRING: {"exact": _exact, "contains": partial(_texts, StringContains)},
    Kind.REFERENCE: {"identifier": _identifier, "above": _no_hierarchy, "below": _no_hierarchy},
    Kind.URI: {"above": _above, "below": _below},
}
