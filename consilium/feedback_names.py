"""How patients and users are named in the store of cards."""

from clinical.pseudonym import Pseudonyms
from consilium.keys import derived_key
from consilium.wiring import House


def pseudonyms_of(house: House) -> Pseudonyms:
    """Return who names patients and users; another CONSILIUM_SECRET_KEY makes other names."""
    return Pseudonyms(derived_key(house.key, "cds-pseudonym"))
