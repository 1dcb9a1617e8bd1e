"""The HL7 v2 port from the settings: who may send, how it is secured, what is counted."""

import ssl
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network

from consilium import metrics
from consilium.hl7_site import intake_of
from consilium.settings import Settings
from consilium.wiring import House
from fhir_adapters.hl7v2.intake import Answer
from fhir_adapters.hl7v2.listener import Bounds, MllpListener
from fhir_adapters.hl7v2.mapping import EVENTS

MOST_SYSTEMS = 100  # a label lives for ever, and senders name their systems
_KINDS = frozenset(f"{kind}^{event}" for kind, event in EVENTS)


def build_listener(house: House) -> MllpListener:
    """Return the listener. Raises IncorrectInput when a certificate file cannot be used."""
    settings, watch = house.settings, Hl7Metrics()
    return MllpListener(
        intake_of(house, watch.unmapped).take,
        watch=watch,
        now=house.now,
        may_come=allowed(settings.hl7_peers),
        tls=listener_tls(settings),
        bounds=Bounds(
            message_bytes=settings.hl7_message_mb << 20,
            peers=settings.hl7_connections,
            peers_per_address=settings.hl7_connections,
        ),
    )


def allowed(peers: Sequence[str]) -> Callable[[str], bool]:
    """Return what tells whether an address may send; any may when none is listed."""
    networks = [ip_network(one) for one in peers]

    def may_come(address: str) -> bool:
        return not networks or any(ip_address(address.partition("%")[0]) in one for one in networks)

    return may_come


def listener_tls(settings: Settings) -> Callable[[], ssl.SSLContext] | None:
    """Return the context for each handshake, None for a plain port. With a CA file senders show a certificate."""
    if settings.hl7_tls_cert_file is None:
        return None
    from dicom_node.tls import Credentials, TlsContexts  # noqa: PLC0415 - brings pydicom along

    credentials = Credentials(settings.hl7_tls_cert_file, settings.hl7_tls_key_file, settings.hl7_tls_ca_file)
    contexts = TlsContexts(credentials, server=True, verify_peer=settings.hl7_tls_ca_file is not None)
    return contexts.context


class Hl7Metrics:
    """Counts what the listener does."""

    def __init__(self) -> None:
        self._systems: set[str] = set()

    def unmapped(self, system: str) -> None:
        """Count a result or order in local codes alone."""
        if len(self._systems) < MOST_SYSTEMS:
            self._systems.add(system)
        metrics.CODES_UNMAPPED.labels(system if system in self._systems else "(others)").inc()

    def answered(self, answer: Answer, seconds: float) -> None:
        """Count a message."""
        # A peer may write anything there, and a label lives for ever.
        kind = answer.kind if answer.kind in _KINDS else "other"
        metrics.HL7_MESSAGES.labels(kind, answer.outcome).inc()
        metrics.HL7_SECONDS.observe(seconds)

    def refused(self, why: str) -> None:
        """Count a peer that was not served."""
        metrics.HL7_REFUSED.labels(why).inc()

    def connected(self, count: int) -> None:
        """Note how many are connected."""
        metrics.HL7_PEERS.set(count)
