"""Random searches, each parameter with what it must mean: a name, a value, and whether a resource meets it."""

from typing import NamedTuple

from benchmarks.search_oracle import compare, fields
from benchmarks.search_oracle.records import CODES, MRN, NAMES, NUMBERS, STUDIES, TIMES, UNITS, URIS, WORDS

TYPES = ("Observation", "Observation", "Observation", "Patient", "RiskAssessment", "Encounter", "ValueSet",
         "Practitioner", "Organization", "Provenance")  # fmt: skip
KPA, POUND = ("http://unitsofmeasure.org", "kPa", ""), ("http://unitsofmeasure.org", "[lb_av]", "")


class Ask(NamedTuple):
    """One parameter. holds: (resource) -> bool."""

    name: str
    value: str
    holds: object


def escaped(text):
    """Write a value so that none of its marks counts."""
    for mark in "\\,|$":
        text = text.replace(mark, "\\" + mark)
    return text


def any_of(name, asks):
    """Several values of one parameter: one of them is enough."""
    return Ask(name, ",".join(ask.value for ask in asks), lambda one: any(ask.holds(one) for ask in asks))


class Asking:
    """Makes searches over `stored` ("Type/id" -> resource). today: what `ap` of a date is measured from."""

    def __init__(self, rng, stored, today):
        self.rng, self.stored, self.today = rng, stored, today

    def query(self):
        """Return (type, the asks that must all hold)."""
        kind = self.rng.choice(TYPES)
        return kind, [self.ask(kind) for _ in range(self.rng.choice([1, 1, 1, 2, 2, 3]))]

    def ask(self, kind, joins=2):
        """Return one parameter of a type; joins: how many references it may still follow."""
        makers = [(self.token, fields.TOKENS), (self.string, fields.STRINGS), (self.date, fields.DATES),
                  (self.number, fields.NUMBERS), (self.quantity, fields.QUANTITIES), (self.uri, fields.URIS),
                  (self.reference, fields.REFERENCES)]  # fmt: skip
        fitting = [(maker, sorted(table[kind])) for maker, table in makers if kind in table]
        others = [self.own_id] + ([self.composite] if kind == "Observation" else [])
        if joins and kind in fields.REFERENCES:
            others += [self.chain, self.chain]
        if joins and kind in ("Patient", "Observation", "Practitioner", "Organization"):
            others += [self.has, self.has]
        if self.rng.random() < 0.35 or not fitting:
            return self.rng.choice(others)(kind, joins)
        maker, names = self.rng.choice(fitting)
        name = self.rng.choice(names)
        if self.rng.random() < 0.08:
            return self.missing(kind, name)
        return maker(kind, name)

    def several(self, name, make):
        """One value, or two."""
        return any_of(name, [make() for _ in range(self.rng.choice([1, 1, 2]))])

    # ---------------------------------------------------------------- kinds

    def token(self, kind, name):
        read = fields.TOKENS[kind][name]
        modifier = self.rng.choice(["", "", "", "not", "text", "of-type", "in"])
        if modifier == "text":
            word = self.rng.choice([*WORDS, "medical", "heart", "zz"])[: self.rng.choice([4, 40])]
            start = compare.plain(word)
            return Ask(f"{name}:text", escaped(word), lambda one: any(
                words and compare.plain(words).startswith(start) for _, _, words in read(one)))  # fmt: skip
        if modifier == "of-type" and name == "identifier":
            value, code = self.rng.choice("0123"), self.rng.choice(["MR", "MR", "SS"])
            return Ask(f"{name}:of-type", f"{MRN}|{code}|{value}", lambda one: any(
                each["value"] == value and {"system": MRN, "code": code} in each.get("type", {}).get("coding", [])
                for each in one.get("identifier", [])))  # fmt: skip
        if modifier == "in":
            url, system, codes = self.rng.choice(SETS)
            negated = self.rng.random() < 0.3
            return Ask(f"{name}:{'not-in' if negated else 'in'}", url, lambda one: negated is not any(
                owner == system and code in codes for owner, code, _ in read(one)))  # fmt: skip
        found = self.several(name, lambda: self._token(read))
        if modifier == "not":
            return Ask(f"{name}:not", found.value, lambda one: not found.holds(one))
        return found

    def _token(self, read):
        owners = [one for one in self.stored.values() if any(code for _, code, _ in _safe(read, one))]
        seen = [
            (system, code) for one in self.rng.sample(owners, min(3, len(owners))) for system, code, _ in read(one)
        ]
        system, code = self.rng.choice([*(pair for pair in seen if pair[1]), *CODES])
        form = self.rng.choice(["code", "both", "bare", "system"])
        asked = escaped(code)
        match form:
            case "code":
                return Ask("", asked, lambda one: any(mine == code for _, mine, _ in read(one)))
            case "bare":
                return Ask("", f"|{asked}", lambda one: any(
                    mine == code and not owner for owner, mine, _ in read(one)))  # fmt: skip
            case "system" if system:
                return Ask(
                    "", f"{escaped(system)}|", lambda one: any(owner == system for owner, _, _ in read(one))
                )
            case _:
                other = system or "urn:none"
                return Ask("", f"{escaped(other)}|{asked}", lambda one: any(
                    (owner, mine) == (other, code) for owner, mine, _ in read(one)))  # fmt: skip

    def string(self, kind, name):
        read = fields.STRINGS[kind][name]
        modifier = self.rng.choice(["", "", "exact", "contains"])

        def one_value():
            word = self.rng.choice(NAMES)
            start = self.rng.randrange(3) if modifier == "contains" else 0
            word = word[start : start + self.rng.choice([2, 4, 40])] if modifier != "exact" else word
            word = self.rng.choice([word, word.upper()]) if modifier != "exact" else word
            word = word if compare.plain(word) else "x"
            tests = {
                "": lambda text: compare.plain(text).startswith(compare.plain(word)),
                "exact": lambda text: text == word,
                "contains": lambda text: compare.plain(word) in compare.plain(text),
            }
            return Ask("", escaped(word), lambda one: any(map(tests[modifier], read(one))))

        return self.several(f"{name}:{modifier}" if modifier else name, one_value)

    def date(self, kind, name):
        read = fields.DATES[kind][name]

        def one_value():
            prefix = self.rng.choice(compare.PREFIXES)
            text = self.rng.choice([*TIMES, "2024-03-01", "2024-05-20", "2025", "1970-03", "2001"])
            return Ask("", prefix + text, lambda one: compare.date_holds(read(one), prefix, text, self.today))

        return self.several(name, one_value)

    def number(self, kind, name):
        read = fields.NUMBERS[kind][name]

        def one_value():
            prefix, text = self.rng.choice(compare.PREFIXES), self.rng.choice(NUMBERS)
            return Ask("", prefix + text, lambda one: any(
                compare.number_holds(compare.Fraction(each), compare.Fraction(each), prefix, text)
                for each in read(one)))  # fmt: skip

        return self.several(name, one_value)

    def quantity(self, kind, name):
        read = fields.QUANTITIES[kind][name]

        def one_value():
            value, holds = self._quantity()
            return Ask("", value, lambda one: any(map(holds, read(one))))

        return self.several(name, one_value)

    def _quantity(self):
        prefix, text = self.rng.choice(compare.PREFIXES), self.rng.choice(NUMBERS)
        system, code, unit = self.rng.choice([*UNITS, KPA, POUND])
        form = self.rng.choice(["bare", "coded", "coded", "unit", "unit"])
        if form == "bare" or not (code or unit):
            return prefix + text, lambda one: compare.quantity_holds(one, prefix, text, None, None)
        if form == "coded" and system:
            return f"{prefix}{text}|{system}|{code}", lambda one: compare.quantity_holds(
                one, prefix, text, system, code
            )
        asked = self.rng.choice([each for each in (code, unit) if each])
        return f"{prefix}{text}||{asked}", lambda one: compare.quantity_holds(one, prefix, text, None, asked)

    def uri(self, kind, name):
        read = fields.URIS[kind][name]
        modifier = self.rng.choice(["", "below", "above"])

        def one_value():
            asked = self.rng.choice(URIS)
            tests = {
                "": lambda uri: uri == asked,
                "below": lambda uri: uri == asked or uri.startswith(asked + "/"),
                "above": lambda uri: uri == asked or asked.startswith(uri + "/"),
            }
            return Ask("", asked, lambda one: any(map(tests[modifier], read(one))))

        return self.several(f"{name}:{modifier}" if modifier else name, one_value)

    def reference(self, kind, name):
        _, types = fields.REFERENCES[kind][name]
        if self.rng.random() < 0.15:
            value = self.rng.choice("0123")
            text = self.rng.choice([value, f"urn:mrn|{value}"])
            return Ask(f"{name}:identifier", text, lambda one: any(
                each.get("identifier", {}).get("value") == value
                for each in fields.references(one, name)))  # fmt: skip
        modifier = self.rng.choice(["", "", f":{self.rng.choice(types)}"])
        return self.several(name + modifier, lambda: self._reference(name, types, modifier[1:]))

    def _reference(self, name, types, modifier):
        known = [key for key in self.stored if key.split("/")[0] in types] + [f"{types[0]}/absent"]
        target = self.rng.choice([*known, *(STUDIES if name == "derived-from" and not modifier else [])])
        if modifier:
            target = f"{modifier}/{target.split('/')[-1]}"
        form = self.rng.choice(["id", "whole", "url"])
        if target.startswith("http") or form == "whole":
            return Ask("", target, lambda one: target in _targets(one, name))
        if form == "url":
            return Ask("", f"{BASE}/{target}", lambda one: target in _targets(one, name))
        own_id = target.split("/")[1]
        return Ask("", own_id, lambda one: any(
            each.split("/")[-1] == own_id and each.count("/") == 1 and (not modifier or each == target)
            for each in _targets(one, name)))  # fmt: skip

    # ---------------------------------------------------------------- across parameters

    def missing(self, kind, name):
        read = _reader(kind, name)
        wanted = self.rng.random() < 0.5
        return Ask(f"{name}:missing", str(wanted).lower(), lambda one: wanted is not any(True for _ in read(one)))

    def own_id(self, kind, _joins):
        ids = [key.split("/")[1] for key in self.stored if key.startswith(f"{kind}/")]
        chosen = {*self.rng.sample(ids, min(3, len(ids))), "absent"}
        return Ask("_id", ",".join(sorted(chosen)), lambda one: one["id"] in chosen)

    def composite(self, _kind, _joins):
        name = self.rng.choice(sorted(fields.COMPOSITES))

        def one_value():
            code, (amount, holds) = self._token(_codes), self._quantity()
            return Ask("", f"{code.value}${amount}", lambda one: any(
                code.holds(part) and any(map(holds, fields.many(part, "valueQuantity")))
                for path in fields.COMPOSITES[name]
                for part in (fields.many(one, *path) if path else [one])))  # fmt: skip

        return self.several(name, one_value)

    def chain(self, kind, joins):
        name = self.rng.choice(sorted(fields.REFERENCES[kind]))
        _, types = fields.REFERENCES[kind][name]
        target = self.rng.choice([one for one in types if one in KNOWN] or ["Patient"])
        if target not in types:
            return self.reference(kind, name)
        inner = self.ask(target, joins - 1)
        written = name if name == "patient" else f"{name}:{target}"

        def holds(one):
            found = (self.stored.get(each) for each in _targets(one, name))
            return any(each is not None and each["resourceType"] == target and inner.holds(each) for each in found)

        return Ask(f"{written}.{inner.name}", inner.value, holds)

    def has(self, kind, joins):
        ways = [(source, name) for source, names in fields.REFERENCES.items() for name, (_, types) in names.items()
                if kind in types]  # fmt: skip
        source, name = self.rng.choice(sorted(ways))
        inner = self.ask(source, joins - 1)

        def holds(one):
            own = f"{one['resourceType']}/{one['id']}"
            return any(
                own in _targets(each, name) and inner.holds(each)
                for each in self.stored.values()
                if each["resourceType"] == source
            )

        return Ask(f"_has:{source}:{name}:{inner.name}", inner.value, holds)


BASE = "http://127.0.0.1:8080/fhir"
KNOWN = {"Patient", "Organization", "Practitioner", "Observation", "Encounter"}
SETS = [
    ("http://hl7.org/fhir/ValueSet/observation-status", fields.FHIR + "observation-status",
     {"registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown"}),
    ("http://hl7.org/fhir/ValueSet/administrative-gender", fields.FHIR + "administrative-gender",
     {"male", "female", "other", "unknown"}),
]  # fmt: skip
_codes = fields.concepts("code")


def _targets(resource, name):
    return [one["reference"] for one in fields.references(resource, name) if "reference" in one]


def _reader(kind, name):
    for table in (fields.TOKENS, fields.STRINGS, fields.DATES, fields.NUMBERS, fields.QUANTITIES, fields.URIS):
        if name in table.get(kind, {}):
            return table[kind][name]
    if name == "patient":
        return lambda one: _targets(one, name)
    return lambda one: [
        each for each in fields.references(one, name) if "reference" in each or "identifier" in each
    ]


def _safe(read, resource):
    try:
        return list(read(resource))
    except (AttributeError, KeyError):
        return []
