"""One association as the node's services, metrics and audit see it, whichever way its messages are read."""

from collections import Counter
from dataclasses import dataclass, field

from dicom_node.tls import PeerCertificate
from record_store.exchanges import Party


@dataclass(eq=False)
class Session:
    """Who calls, and what became of the instances that were sent.

    taken: Study Instance UID -> instances that are here now. not_taken: how many were refused.
    """

    calling_ae: str
    address: str
    certificate: PeerCertificate | None = None
    taken: Counter[str] = field(default_factory=Counter)
    not_taken: int = 0

    @property
    def peer(self) -> Party:
        """The peer for the audit."""
        return Party(self.calling_ae, self.address, self.certificate.sha256 if self.certificate else "")
