"""A peer that takes our objects, and how long we wait for it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Destination:
    """A peer that takes objects. name: how settings call it. commitment: it has to confirm what it keeps."""

    name: str
    host: str
    port: int
    ae_title: str
    commitment: bool = False


@dataclass(frozen=True, slots=True)
class SendTimeouts:
    """connect: TCP. acse: association. dimse: an answer. network: silence in between."""

    connect_s: float = 5.0
    acse_s: float = 10.0
    dimse_s: float = 60.0
    network_s: float = 60.0
