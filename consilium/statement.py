"""The conformance statement of a node as the settings make it."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from consilium.dicomweb import ROOT
from consilium.node_services import scp_settings, services_of
from consilium.settings import PREFIX, Settings
from consilium.wiring import House
from consilium.workitems.rs import REQUESTS
from dicom_node.statement import Node, Setting

# The block of settings that is about DICOM, in the order of consilium/settings.py.
_FIRST, _AFTER = "dicom_host", "worker_slots"
_SECURITY = (
    "Callers are known by AE title, address and certificate (`CONSILIUM_CALLING_AES`).",
    "Production does not start without such a table. There is no user identity negotiation (PS3.7 D.3.3.7).",
    "TLS 1.2 and 1.3 as SCP and SCU by PS3.15 B.12 or B.13 (its ECDHE suites), certificates on both sides.",
    "What a peer shows is checked against an authority and a list of what that has revoked.",
    "Production speaks DICOM without TLS only when that is stated (`CONSILIUM_DICOM_PLAIN`).",
    "Associations, objects, queries, transfers and deliveries are in a sealed audit trail (FHIR AuditEvent).",
    "A destination may get pseudonyms: the Basic Profile of PS3.15 annex E with Clean Structured Content.",
    "By setting also Clean Descriptors, Modified Dates, Retain Patient Characteristics, Retain Device Identity.",
    "Logs, metrics and error texts hold no patient data.",
    "Objects may leave under pseudonyms (PS3.15 annex E); what comes back gets its own identity again.",
    "DICOMweb is behind the same authentication as the other HTTP services; TLS there ends at the site's proxy.",
)

# Settings that switch on every service: the page in docs/ is of these.
EVERY_SERVICE: Mapping[str, object] = {
    "pacs": [{"name": "pacs", "host": "pacs.example", "port": 104, "ae_title": "PACS", "commitment": True}],
    "ups_aes": ["TEST"],
    "query_aes": {"TEST": {"may": ["find", "move", "get"], "sees": "everything", "to": ["pacs"]}},
}


def node_of(settings: Settings, folder: Path) -> Node:
    """Return the node that `consilium dicom` would run. folder: an empty one, so that the store is not opened."""
    house = House(settings.model_copy(update={"data_dir": folder, "database_url": None, "blob_url": None}))
    return Node(
        version=version("consilium-cds"),
        web_path=ROOT,
        scp=scp_settings(house),
        services=services_of(house),
        settings=tuple(map(_setting, _names())),
        security=_SECURITY,
        web_agent=(
            ("Store Instances (10.5)", "POST", "/studies"),
            ("Search for Instances (10.6)", "GET", "/studies/{study}/instances"),
            ("Retrieve Instance (10.4)", "GET", "/studies/{study}/series/{series}/instances/{instance}"),
            *REQUESTS,
        ),
    )


def _names() -> list[str]:
    names = list(Settings.model_fields)
    return names[names.index(_FIRST) : names.index(_AFTER)]


def _setting(name: str) -> Setting:
    field = Settings.model_fields[name]
    default = field.get_default(call_default_factory=True, validated_data={})
    return Setting(PREFIX + name.upper(), _in_words(default))


def _in_words(default: Any) -> str:  # noqa: ANN401 - whatever a setting may be
    if default is PydanticUndefined or isinstance(default, SecretStr):
        return "-"
    if isinstance(default, bool):
        return str(int(default))
    return (
        f"`{default}`" if isinstance(default, str | int | float) else ", ".join(map(str, default or ())) or "none"
    )
