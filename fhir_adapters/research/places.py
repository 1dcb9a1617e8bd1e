"""What may be told of where somebody lives (45 CFR 164.514(b)(2)(i)(B)): state, country, half a ZIP code."""

import re
from collections.abc import Mapping
from typing import Any


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Three-digit ZIP codes of 20,000 people or fewer (HHS's guidance on de-identification, Census 2000).
_FEW_PEOPLE = _words("036 059 063 102 203 556 692 790 821 823 830 831 878 879 884 890 893")
_STATES = _words(
    "AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH "
    "OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY DC PR GU VI AS MP"
)
# ISO 3166-1 alpha-2 of countries with more than a million inhabitants.
_ISO = _words(
    "AE AF AL AM AO AR AT AU AZ BA BD BE BF BG BH BI BJ BO BR BW BY CA CD CF CG CH CI CL CM CN CO CR CU CY CZ "
    "DE DJ DK DO DZ EC EE EG ER ES ET FI FR GA GB GE GH GM GN GQ GR GT GW HK HN HR HT HU ID IE IL IN IQ IR IT "
    "JM JO JP KE KG KH KP KR KW KZ LA LB LK LR LS LT LV LY MA MD MG MK ML MM MN MR MU MW MX MY MZ NA NE NG NI "
    "NL NO NP NZ OM PA PE PG PH PK PL PR PS PT PY QA RO RS RU RW SA SD SE SG SI SK SL SN SO SS SV SY SZ TD TG "
    "TH TJ TL TM TN TR TT TW TZ UA UG US UY UZ VE VN XK YE ZA ZM ZW"
)
_US = frozenset({"US", "USA"})
_ZIP = re.compile("([0-9]{3})[0-9]{2}(-[0-9]{4})?")


def region_of(address: Mapping[str, Any]) -> dict[str, str]:
    """Return what is left of an Address; nothing of one whose country is written in words."""
    country, state, code = (address.get(name) for name in ("country", "state", "postalCode"))
    left: dict[str, str] = {}
    if isinstance(state, str) and state in _STATES and country in (None, *_US):
        left["state"] = state
        if isinstance(code, str) and (found := _ZIP.fullmatch(code)):
            left["postalCode"] = "000" if found[1] in _FEW_PEOPLE else found[1]
    if isinstance(country, str) and (country in _US or country in _ISO):
        left["country"] = country
    return left
