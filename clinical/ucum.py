"""UCUM 2.2: what a unit's code means, and whether two values are the same quantity.

A unit is a scale and powers of base units. Quantities are compared in base units, so a value is found in whatever
unit it was sent. Amount of substance and mass are different dimensions that only a substance's molar mass joins:
that is an argument, never a guess. Arbitrary units ([iU]) and logarithmic ones (pH, dB) are dimensions of their
own.

`clinical/ucum.json` is UCUM's table (`fhir_adapters.definitions.compile_ucum` makes it). Copyright of UCUM:
Regenstrief Institute and the UCUM Organization; used under its licence, unchanged in meaning.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from clinical.errors import IncorrectInput

SYSTEM = "http://unitsofmeasure.org"
AVOGADRO = Decimal("6.02214076E23")  # as UCUM 2.2 has it

_EXACT = Context(prec=34)
_MAX_CODE = 256
_TOKEN = re.compile(
    r"(?P<annotation>\{[\x21-\x7a\x7c\x7e]*\})|(?P<operator>[./()])|(?P<symbol>(?:\[[^\[\]\s]*\]|[^./(){}\[\]\s])+)"
)
_EXPONENT = re.compile(r"(?P<atom>.*?[^+\-0-9]|10\*|10\^)(?P<power>[+-]?[0-9]{1,3})")
_NUMBER = re.compile(r"[0-9]{1,30}")
# UCUM 4.2 table 17 ff.: (to kelvin of a value, per unit of the scale), exactly.
_OFFSETS = {"Cel": Decimal("273.15"), "degF": Decimal("459.67"), "degRe": Decimal("218.52")}


class UnknownUnit(IncorrectInput):
    """The code is none of UCUM."""


@dataclass(frozen=True, slots=True)
class Unit:
    """scale: how many base units one of it is. powers: base unit -> power, in order of the names.

    offset: added to a value before the scale (temperatures). arbitrary: it converts to nothing but itself.
    """

    scale: Decimal
    powers: tuple[tuple[str, int], ...]
    offset: Decimal = Decimal()

    @property
    def dimension(self) -> str:
        """The base units with their powers, as a UCUM code ("m-3.g"); "1" for a bare number."""
        return ".".join(f"{name}{power if power != 1 else ''}" for name, power in self.powers) or "1"


@lru_cache(maxsize=4096)
def unit(code: str) -> Unit:
    """Return what a code means. Raises UnknownUnit when it is none of UCUM (case counts)."""
    if not code or len(code) > _MAX_CODE:
        raise UnknownUnit("a unit is a code of UCUM")
    return _Parser(code).whole()


def is_unit(code: str) -> bool:
    """Tell whether a code is one of UCUM."""
    try:
        unit(code)
    except UnknownUnit:
        return False
    return True


def canonical(value: Decimal, code: str) -> tuple[Decimal, str]:
    """Return the value in base units, and their code: equal for equal quantities. Raises UnknownUnit."""
    meant = unit(code)
    return _EXACT.multiply(_EXACT.add(value, meant.offset), meant.scale), meant.dimension


def convert(value: Decimal, code: str, into: str, *, molar_mass: Decimal | None = None) -> Decimal:
    """Return the value in another unit.

    molar_mass: g/mol of the substance, which lets mass and amount be converted into each other.
    Raises UnknownUnit, and IncorrectInput when the units do not measure the same thing.
    """
    base, dimension = canonical(value, code)
    wanted = unit(into)
    if dimension != wanted.dimension:
        base = _EXACT.multiply(base, _through_molar_mass(unit(code), wanted, molar_mass))
    return _EXACT.subtract(_EXACT.divide(base, wanted.scale), wanted.offset)


def _through_molar_mass(given: Unit, wanted: Unit, molar_mass: Decimal | None) -> Decimal:
    had, has = dict(given.powers), dict(wanted.powers)
    grams = has.pop("g", 0) - had.pop("g", 0)
    if molar_mass is None or had != has or abs(grams) != 1:
        raise IncorrectInput("the units do not measure the same thing")
    per_molecule = _EXACT.divide(molar_mass, AVOGADRO)
    return per_molecule if grams == 1 else _EXACT.divide(Decimal(1), per_molecule)


class _Parser:
    """One code, read by the grammar of UCUM 2.1 from left to right; `/` and `.` bind alike."""

    def __init__(self, code: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(code):
            found = _TOKEN.match(code, at)
            if found is None:
                raise UnknownUnit("that is no unit of UCUM")
            self._tokens.append((str(found.lastgroup), found[0]))
            at = found.end()

    def whole(self) -> Unit:
        made = self._term(0)
        if self._tokens:
            raise UnknownUnit("that is no unit of UCUM")
        return made

    def _term(self, depth: int) -> Unit:
        made = _ONE
        operator = "/" if self._tokens[:1] == [("operator", "/")] and self._tokens.pop(0) else "."
        while True:
            part = self._component(depth)
            made = _times(made, part, -1 if operator == "/" else 1)
            following = self._operator()
            if following is None:
                return made
            operator = following

    def _operator(self) -> str | None:
        if self._tokens and self._tokens[0][1] in "./" and self._tokens[0][0] == "operator":
            return self._tokens.pop(0)[1]
        return None

    def _component(self, depth: int) -> Unit:
        if not self._tokens or depth > 10:
            raise UnknownUnit("that is no unit of UCUM")
        kind, text = self._tokens.pop(0)
        if kind == "annotation":
            return _ONE
        if text == "(":
            made = self._term(depth + 1)
            if not self._tokens or self._tokens.pop(0)[1] != ")":
                raise UnknownUnit("that is no unit of UCUM")
        elif kind == "symbol":
            made = _symbol(text)
        else:
            raise UnknownUnit("that is no unit of UCUM")
        if self._tokens and self._tokens[0][0] == "annotation":
            self._tokens.pop(0)  # of a bracket too, as UCUM's own examples have it
        return made


_ONE = Unit(Decimal(1), ())


def _times(left: Unit, right: Unit, power: int) -> Unit:
    powers = dict(left.powers)
    for name, count in right.powers:
        powers[name] = powers.get(name, 0) + count * power
    kept = tuple(sorted((name, count) for name, count in powers.items() if count))
    return Unit(_EXACT.multiply(left.scale, _power(right.scale, power)), kept, _offset_of(left, right, power))


def _offset_of(left: Unit, right: Unit, power: int) -> Decimal:
    # A temperature keeps its zero only where it stands alone; in a product it is a difference.
    return right.offset if left == _ONE and power == 1 else Decimal()


def _power(scale: Decimal, power: int) -> Decimal:
    raised = _EXACT.power(scale, abs(power))
    return raised if power >= 0 else _EXACT.divide(Decimal(1), raised)


def _symbol(text: str) -> Unit:
    if _NUMBER.fullmatch(text):
        if not int(text):
            raise UnknownUnit("a unit is not zero")
        return Unit(Decimal(text), ())
    power, name = 1, text
    if not _is_atom(text) and (found := _EXPONENT.fullmatch(text)):
        name, power = found["atom"], int(found["power"])
        if not power:
            raise UnknownUnit("a unit is not raised to zero")
    made = _atom(name)
    return made if power == 1 else _times(_ONE, made, power)


def _is_atom(text: str) -> bool:
    return text in _table()["atoms"] or text in _table()["base"]


@cache
def _atom(name: str) -> Unit:
    table = _table()
    if name in table["base"]:
        return Unit(Decimal(1), ((name, 1),))
    if name in table["atoms"]:
        return _defined(name, table["atoms"][name])
    for length in (2, 1):  # da before d
        prefix, rest = name[:length], name[length:]
        if prefix in table["prefixes"] and (rest in table["base"] or table["atoms"].get(rest, {}).get("metric")):
            own = _atom(rest)
            scale = _EXACT.multiply(Decimal(table["prefixes"][prefix]), own.scale)
            return Unit(scale, own.powers, _EXACT.divide(own.offset, Decimal(table["prefixes"][prefix])))
    raise UnknownUnit("that is no unit of UCUM")


def _defined(name: str, atom: Mapping[str, Any]) -> Unit:
    function = atom.get("function")
    if atom.get("arbitrary") or (function is not None and function not in _OFFSETS):
        return Unit(Decimal(1), ((name, 1),))
    meant = _Parser(atom["unit"]).whole()
    scale = _EXACT.multiply(Decimal(atom["value"]), meant.scale)
    return Unit(scale, meant.powers, _OFFSETS.get(function, Decimal()) if function else Decimal())


@cache
def _table() -> Mapping[str, Any]:
    table: Mapping[str, Any] = json.loads(files("clinical").joinpath("ucum.json").read_text(encoding="utf-8"))
    return table
