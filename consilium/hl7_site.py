"""What HL7 v2 messages mean here, from the settings; and what stores them."""

import hashlib
import hmac
from collections.abc import Callable

from consilium.code_tables import CodeTables
from consilium.keys import derived_key
from consilium.setting_values import zone_named
from consilium.wiring import House
from fhir_adapters.hl7v2.intake import Intake
from fhir_adapters.hl7v2.site import Site, not_counted


def site_of(house: House, unmapped: Callable[[str], None] = not_counted) -> Callable[[], Site]:
    """Return what the settings say of messages, asked for each batch: the site's table of codes may be edited.

    unmapped: counts what came in local codes alone.
    """
    settings, key = house.settings, derived_key(house.key, "hl7v2-id")
    tables = CodeTables(house.db, settings.codes_file)

    def derive(*parts: str) -> str:
        return hmac.digest(key, "\x1f".join(parts).encode(), hashlib.sha256).hex()[:40]

    site = Site(
        derive=derive,
        patient_id=house.patient_id,
        issuers=settings.patient_issuers,
        systems=settings.hl7_systems,
        codes=tables.codes,
        unmapped=unmapped,
        zone=zone_named(settings.hl7_time_zone),
        charset=settings.hl7_charset,
        processing_ids=frozenset(one.upper() for one in settings.hl7_processing_ids),
    )

    def looked_at() -> Site:
        tables.table()
        return site

    return looked_at


def intake_of(house: House, unmapped: Callable[[str], None] = not_counted) -> Intake:
    """Return what stores messages."""
    return Intake(house.db, site_of(house, unmapped), house.now, f"{house.base_url}/fhir")
