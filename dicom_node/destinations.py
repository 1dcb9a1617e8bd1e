"""A peer that takes our objects, and how long we wait for it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dicom_node.tls_client import ClientTls


@dataclass(frozen=True, slots=True)
class Destination:
    """A peer that takes objects. name: how settings call it. commitment: it has to confirm what it keeps.

    compress: pictures and maps go to it compressed without loss, where it takes them so.
    tls: how its DICOM port is secured; None where it is plain.
    stow_url: base URL of its DICOMweb service, when it takes objects by STOW-RS and not by C-STORE.
    """

    name: str
    host: str
    port: int
    ae_title: str
    commitment: bool = False
    stow_url: str | None = None
    stow_token: str | None = field(default=None, repr=False)
    tls: "ClientTls | None" = None
    compress: bool = False


@dataclass(frozen=True, slots=True)
class SendTimeouts:
    """connect: TCP. acse: association. dimse: an answer. network: silence in between."""

    connect_s: float = 5.0
    acse_s: float = 10.0
    dimse_s: float = 60.0
    network_s: float = 60.0
