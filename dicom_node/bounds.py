"""What a peer may make us hold, and for how long."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Sizes in bytes, times in seconds.

    control_pdu: longest PDU other than P-DATA. data_pdu: longest P-DATA-TF, which peers are told.
    command_set: longest DIMSE command. object_bytes: longest data set of a C-STORE, which goes to a file.
    identifier: longest one of another message.
    associations, associations_per_host, associations_per_ae: established at once, in all, from one address, of one
        calling AE.
    connections, connections_per_host: open sockets, whatever their state; those that have not asked for an
        association yet give way, the longest silent one first.
    stall_s: longest silence within a message. slowest: bytes a second below which a message is given up.
    """

    control_pdu: int = 256 * 1024
    data_pdu: int = 1024 * 1024
    command_set: int = 16 * 1024
    object_bytes: int = 8 * 1024**3
    identifier: int = 1024 * 1024
    associations: int = 512
    associations_per_host: int = 512
    associations_per_ae: int = 512
    connections: int = 2048
    connections_per_host: int = 1024
    stall_s: float = 30.0
    slowest: float = 10_000.0
