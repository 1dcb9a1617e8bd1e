"""TLS of the DICOM node from the settings: our listener, and each archive that is called over TLS."""

from typing import TYPE_CHECKING

from consilium.keys import derived_key
from dicom_node.tls import Credentials, Profile, TlsContexts

if TYPE_CHECKING:
    from consilium.egress import Disguise
    from consilium.setting_values import PacsDestination, UpsWorklist
    from consilium.settings import Settings
    from dicom_node.tls_client import ClientTls


def listener_tls(settings: "Settings") -> TlsContexts | None:
    """Return how the secured port is secured, None when there is none.

    Raises IncorrectInput when a certificate file cannot be used.
    """
    if settings.dicom_tls_port is None:
        return None
    verify = settings.dicom_tls_client_certificate == "required"
    return TlsContexts(_credentials(settings), server=True, profile=_profile(settings), verify_peer=verify)


def destination_tls(settings: "Settings", one: "PacsDestination | UpsWorklist") -> "ClientTls | None":
    """Return how an archive or a worklist is called over TLS, None when it is not.

    We show the node's own certificate where it has one. Raises IncorrectInput when a file cannot be used.
    """
    from dicom_node.tls_client import ClientTls  # noqa: PLC0415

    peer = one.secured
    if peer is None:
        return None
    name = (peer.name or one.host) if peer.check_name else None
    ours = _credentials(settings)
    credentials = Credentials(ours.cert, ours.key, peer.ca_file or ours.ca, None)
    contexts = TlsContexts(credentials, server=False, profile=_profile(settings), check_name=peer.check_name)
    return ClientTls(contexts, name, peer.sha256)


def disguise_of(settings: "Settings", one: "PacsDestination") -> "Disguise | None":
    """Return how a destination sees patients, None where it sees them as they are."""
    from clinical.destination_pseudonyms import Pseudonyms  # noqa: PLC0415
    from consilium.egress import Disguise  # noqa: PLC0415 - who sends no pseudonyms need not load it
    from dicom_node.confidentiality.actions import Options  # noqa: PLC0415

    wanted, secret = one.disguised, settings.pseudonym_key
    if wanted is None or secret is None:
        return None
    key = derived_key(secret.get_secret_value().encode(), pseudonym_purpose(one.name))
    options = Options(
        dates=wanted.dates,
        descriptions=wanted.descriptions,
        device=wanted.device,
        characteristics=wanted.characteristics,
    )
    titles = {*wanted.returns_as, *([one.ae_title] if one.ae_title else [])}
    return Disguise(Pseudonyms(key), options, frozenset(titles))


def pseudonym_purpose(name: str) -> str:
    """Return the purpose of the key with which pseudonyms for this receiver are made, of images and of records."""
    return f"pseudonyms\x1f{name}"


def _credentials(settings: "Settings") -> Credentials:
    return Credentials(
        settings.dicom_tls_cert_file,
        settings.dicom_tls_key_file,
        settings.dicom_tls_ca_file,
        settings.dicom_tls_crl_file,
    )


def _profile(settings: "Settings") -> Profile:
    return Profile(settings.dicom_tls_profile)
