"""What HL7 v2 messages mean here, from the settings; and what stores them."""

import hashlib
import hmac
from collections.abc import Callable, Sequence

from clinical.codes import Coding
from consilium.keys import derived_key
from consilium.setting_values import zone_named
from consilium.wiring import House
from fhir_adapters.hl7v2.intake import Intake
from fhir_adapters.hl7v2.site import Site, no_codes


def site_of(house: House, codes: Callable[[str, str], Sequence[Coding]] = no_codes) -> Site:
    """Return what the settings say of messages. codes: the site's table of codes."""
    settings, key = house.settings, derived_key(house.key, "hl7v2-id")

    def derive(*parts: str) -> str:
        return hmac.digest(key, "\x1f".join(parts).encode(), hashlib.sha256).hex()[:40]

    return Site(
        derive=derive,
        patient_id=house.patient_id,
        issuers=settings.patient_issuers,
        systems=settings.hl7_systems,
        codes=codes,
        zone=zone_named(settings.hl7_time_zone),
        charset=settings.hl7_charset,
        processing_ids=frozenset(one.upper() for one in settings.hl7_processing_ids),
    )


def intake_of(house: House) -> Intake:
    """Return what stores messages."""
    site = site_of(house)
    return Intake(house.db, lambda: site, house.now, f"{house.base_url}/fhir")
