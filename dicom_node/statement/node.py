"""What a statement is about: one node with its services."""

from collections.abc import Sequence
from dataclasses import dataclass

from pynetdicom.presentation import PresentationContext

from dicom_node.beside import presentation_contexts
from dicom_node.proposals import PROPOSALS, Proposal
from dicom_node.scp import ScpSettings
from dicom_node.service import Service, offered


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of the node, as the documentation names it, and its default in words."""

    name: str
    default: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """version: of the program. web_path: of DICOMweb. scp: how it listens. services: offered besides
    storage. security: sentences. web_agent: what is asked of others by HTTP (transaction, method, resource).
    """

    version: str
    web_path: str
    scp: ScpSettings
    services: Sequence[Service] = ()
    proposals: Sequence[Proposal] = PROPOSALS
    settings: Sequence[Setting] = ()
    security: Sequence[str] = ()
    web_agent: Sequence[tuple[str, str, str]] = ()

    @property
    def accepted(self) -> list[PresentationContext]:
        """Every presentation context that is negotiated when somebody calls."""
        return [
            *presentation_contexts(self.scp.storage_classes, self.scp.private_syntaxes),
            *offered(self.services),
        ]
