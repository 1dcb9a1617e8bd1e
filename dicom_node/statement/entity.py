"""The application entity and its association policies (PS3.2: AE specifications)."""

from dicom_node.incoming import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION
from dicom_node.statement.node import Node


def policies(node: Node) -> list[tuple[str, object]]:
    """Return (policy, value)."""
    scp, bounds = node.scp, node.scp.bounds
    callers = (
        "must be in the table of callers, where there is one (in production always): else A-ASSOCIATE-RJ 1/1/3"
    )
    ports = [str(scp.port)] if scp.port is not None else []
    ports += [f"{scp.tls_port} with TLS"] if scp.tls_port is not None else []
    slow = f"{bounds.stall_s:g} s, and {bounds.slowest:g} bytes a second at least"
    return [
        ("AE title", f"`{scp.ae_title}` (a setting)"),
        ("port", " and ".join(ports)),
        ("application context", "1.2.840.10008.3.1.1.1"),
        ("implementation class UID", IMPLEMENTATION_UID),
        ("implementation version name", IMPLEMENTATION_VERSION),
        ("version of the program", node.version),
        ("called AE title", "must be ours: else A-ASSOCIATE-RJ 1/1/7"),
        ("calling AE title and address", callers),
        (
            "associations at once",
            _each(bounds.associations, bounds.associations_per_host, bounds.associations_per_ae),
        ),
        ("connections at once", f"{bounds.connections}, and {bounds.connections_per_host} of one address"),
        ("maximum PDU length announced", f"{bounds.data_pdu}: a longer P-DATA-TF is answered with A-ABORT"),
        ("PDUs of other types", f"at most {bounds.control_pdu} bytes: else A-ABORT"),
        ("command sets", f"at most {bounds.command_set} bytes: else A-ABORT"),
        ("data sets of objects", f"at most {bounds.object_bytes} bytes"),
        ("asynchronous operations window", "not negotiated: one operation at a time (PS3.7 D.3.3.3)"),
        ("SOP class extended negotiation, user identity", "not negotiated"),
        ("A-ASSOCIATE-RQ expected within", f"{scp.acse_timeout_s:g} s"),
        ("silence between messages at most", f"{scp.network_timeout_s:g} s"),
        ("silence within a PDU at most", slow),
        ("transfer syntax chosen", "the first that the caller proposes and that is offered"),
    ]


def _each(most: int, of_address: int, of_ae: int) -> str:
    return f"{most}; {of_address} of one address, {of_ae} of one calling AE"
