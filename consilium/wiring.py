"""From settings to collaborators: the one place that knows how the house is put together.

Each function builds what one process needs and imports only that; nothing here runs at import.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from clinical.clock import Clock, utc_now
from clinical.identity import IssuerTable, PatientKey
from consilium.keys import derived_key, master_key
from consilium.settings import Settings
from record_store.blobs import Blobs, open_blobs
from record_store.database import Database, open_database
from record_store.deliveries import RetryPolicy
from record_store.migrate import migrate_if_needed

if TYPE_CHECKING:
    from consilium.delivering import Send
    from consilium.egress import Disguise
    from consilium.selection import Selecting
    from dicom_node.destinations import Destination
    from dicom_node.intake import Restore
    from dicom_node.pixels import DecodeLimits, Decoder
    from dicom_node.query.access import Access
    from dicom_node.query.indexing import HeaderIndex
    from fhir_adapters.access.consents import Consents
    from model_runtime.engine import Placement
    from model_runtime.library import Library
    from record_store.exchanges import Trail
    from record_store.quarantine_folder import Quarantine

LOW_WATER_UNIT = 1 << 20
STALE_PART_S = 3600.0


@dataclass(frozen=True)
class House:
    """What every process shares, opened at first use."""

    settings: Settings
    now: Clock = utc_now

    @cached_property
    def db(self) -> Database:
        """The database."""
        self.settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return open_database(self.settings.database)

    @cached_property
    def blobs(self) -> Blobs:
        """Images, label images and result objects."""
        return open_blobs(self.settings.blobs, self.staging)

    @property
    def staging(self) -> Path:
        """Where objects are written before they are adopted: on the blob folder's file system."""
        return self.settings.data_dir.resolve() / "incoming"

    @property
    def quarantine(self) -> "Quarantine":
        """Where objects are kept that were refused because they are malformed."""
        from record_store.quarantine_folder import Quarantine, QuarantineBounds  # noqa: PLC0415

        settings = self.settings
        bounds = QuarantineBounds(
            size=settings.dicom_quarantine_mb << 20,
            objects=settings.dicom_quarantine_objects,
            age=timedelta(days=settings.dicom_quarantine_days),
            low_water=self.low_water_bytes,
        )
        return Quarantine(settings.data_dir.resolve() / "quarantine", bounds, self.now)

    @cached_property
    def trail(self) -> "Trail":
        """Where exchanges with peers are noted; this process's own."""
        from record_store.exchanges import Trail  # noqa: PLC0415

        return Trail(self.db, self.now)

    @property
    def consents(self) -> "Consents | None":
        """What patients have said about their data; None where the site has it that nobody asks."""
        from fhir_adapters.access.consents import Consents  # noqa: PLC0415

        wish = self.settings.fhir_consent
        if wish == "off":
            return None
        return Consents(self.db, self.now, f"{self.base_url}/fhir", opt_in=wish == "opt-in")

    @cached_property
    def header_index(self) -> "HeaderIndex":
        """What the objects' headers say, for searches."""
        from dicom_node.query.indexing import HeaderIndex  # noqa: PLC0415

        return HeaderIndex(self.db, self.blobs, self.now)

    @property
    def query_access(self) -> "Access":
        """Who may query and retrieve what we hold."""
        from dicom_node.query.access import Access, Caller, May  # noqa: PLC0415

        callers = {
            title: Caller(frozenset(map(May, one.may)), one.sees, frozenset(one.to))
            for title, one in self.settings.query_aes.items()
        }
        return Access(callers, self.destinations)

    @cached_property
    def issuers(self) -> IssuerTable:
        """DICOM issuers joined to FHIR identifier systems."""
        return IssuerTable(dict(self.settings.patient_issuers))

    @cached_property
    def key(self) -> bytes:
        """The server's secret."""
        return master_key(self.settings)

    @cached_property
    def destinations(self) -> "dict[str, Destination]":
        """The archives that results go to, by name."""
        from consilium.securing import destination_tls  # noqa: PLC0415
        from dicom_node.destinations import Destination  # noqa: PLC0415

        return {
            one.name: Destination(
                one.name,
                one.host,
                one.port,
                one.ae_title or "",
                one.commitment,
                one.stow_url,
                one.stow_token.get_secret_value() if one.stow_token else None,
                destination_tls(self.settings, one),
                compress=one.compress,
            )
            for one in self.settings.pacs
        }

    @cached_property
    def nodes(self) -> "dict[str, Destination]":
        """Where AEs can be reached, by their titles: CONSILIUM_NODES, and the archives that are DICOM nodes."""
        from dicom_node.destinations import Destination  # noqa: PLC0415

        archives = {one.ae_title: one for one in self.destinations.values() if one.ae_title}
        return archives | {
            one.ae_title: Destination(one.ae_title, one.host, one.port, one.ae_title)
            for one in self.settings.nodes
        }

    @cached_property
    def disguises(self) -> "dict[str, Disguise]":
        """How those archives see patients that get pseudonyms, by name."""
        from consilium.securing import disguise_of  # noqa: PLC0415

        found = {one.name: disguise_of(self.settings, one) for one in self.settings.pacs if one.disguised}
        return {name: one for name, one in found.items() if one is not None}

    @cached_property
    def homecoming(self) -> "Restore":
        """What gives objects that come back from there their own names."""
        from dicom_node.intake import as_it_came  # noqa: PLC0415

        if not self.disguises:  # what DICOMweb needs is not loaded by a process that only stores
            return as_it_came
        from dicom_node.web.store import SENDER  # noqa: PLC0415

        return self.homecoming_from(SENDER)

    def homecoming_from(self, sender: str) -> "Restore":
        """Return the same where senders without an AE title are called so."""
        from dicom_node.intake import as_it_came  # noqa: PLC0415

        if not self.disguises:
            return as_it_came
        from consilium.egress import Homecoming  # noqa: PLC0415

        return Homecoming(self.db, self.blobs, self.disguises, sender)

    def egress(self, send: "Send") -> "Send":
        """Return a way to send that disguises what goes there."""
        if not self.disguises:
            return send
        from consilium.egress import Egress, sweep  # noqa: PLC0415

        folder = self.settings.data_dir.resolve() / "egress"
        sweep(folder, STALE_PART_S)
        return Egress(self.db, folder, self.disguises, send)

    @property
    def delivery_retry(self) -> RetryPolicy:
        """How often and how patiently a result is sent."""
        return RetryPolicy(
            max_attempts=self.settings.delivery_attempts, first_s=self.settings.delivery_first_wait_s
        )

    @property
    def image_classes(self) -> frozenset[str] | None:
        """The SOP classes that are stored, None for all of them."""
        from dicom_node.sop_classes import IMAGE_CLASSES  # noqa: PLC0415 - for who stores only

        return None if self.settings.storage_classes == "all" else frozenset(map(str, IMAGE_CLASSES))

    @property
    def low_water_bytes(self) -> int:
        """Free space below which nothing is taken."""
        return self.settings.low_water_mb * LOW_WATER_UNIT

    @property
    def base_url(self) -> str:
        """The URL that callers use, without a trailing slash."""
        host = self.settings.http_host
        shown = f"[{host}]" if ":" in host else host
        return self.settings.public_base_url or f"http://{shown}:{self.settings.http_port}"

    @property
    def decode_limits(self) -> "DecodeLimits":
        """The budget of decoding one image."""
        from dicom_node.pixels import DecodeLimits  # noqa: PLC0415

        return DecodeLimits(
            seconds=self.settings.decode_seconds,
            wall_seconds=3 * self.settings.decode_seconds,
            memory_bytes=self.settings.decode_memory_mb << 20,
        )

    @cached_property
    def library(self) -> "Library":
        """The models folder, read once."""
        from model_runtime.library import Library  # noqa: PLC0415
        from model_runtime.signature import public_key  # noqa: PLC0415

        return Library(self.settings.models, [public_key(key) for key in self.settings.model_keys])

    @property
    def placement(self) -> "Placement":
        """Where this machine's workers run models."""
        from model_runtime.engine import Placement, Policy  # noqa: PLC0415

        return Placement(Policy(self.settings.model_provider), self.settings.model_cpu_fallback)

    @property
    def shadow_placement(self) -> "Placement":
        """Where models run that read in shadow: there, or not at all."""
        from model_runtime.engine import Placement, Policy  # noqa: PLC0415

        return Placement(Policy(self.settings.shadow_provider), cpu_fallback=False)

    @cached_property
    def decoder(self) -> "Decoder":
        """The decoder of images, with a child process of its own."""
        from dicom_node.pixels import Decoder  # noqa: PLC0415

        return Decoder(self.decode_limits)

    @cached_property
    def selecting(self) -> "Selecting":
        """What chooses images for models: by the site's rules and what it knows of its senders."""
        from consilium.selection import Selecting  # noqa: PLC0415
        from dicom_node.anatomy import BodyPartRule  # noqa: PLC0415

        known = (BodyPartRule(one.body_part, one.calling_ae, one.description) for one in self.settings.body_parts)
        return Selecting(self.blobs, self.issuers, tuple(known), self.settings.rules())

    def patient_id(self, key: PatientKey) -> str:
        """Return the FHIR id of a patient that we add: keyed, so that it cannot be guessed from the number."""
        message = f"{key.system}\x1f{key.value}".encode()
        return hmac.digest(derived_key(self.key, "patient-id"), message, hashlib.sha256).hex()[:40]


def prepare_storage(settings: Settings) -> int:
    """Bring the database to this version's schema; return how many migrations that took."""
    house = House(settings)
    try:
        return len(migrate_if_needed(house.db))
    finally:
        house.db.dispose()
