"""Security profiles (PS3.2, PS3.15)."""

from dicom_node.statement.node import Node
from dicom_node.statement.text import table
from dicom_node.tls import Profile, suites_of

_PROFILES = {
    Profile.BCP195: "BCP 195 RFC 9325 TLS (PS3.15 B.12)",
    Profile.MODIFIED: "Modified BCP 195 RFC 9325 TLS (PS3.15 B.13), as far as it is elliptic curves",
}


def lines(node: Node) -> list[str]:
    """Return the section."""
    profiles = [(f"`{one}`", _PROFILES[one], "1.2, 1.3", ", ".join(suites_of(one))) for one in Profile]
    return [
        "## Security",
        "",
        *(f"- {one}" for one in node.security),
        "",
        *table(("TLS profile", "is", "versions", "suites with TLS 1.2"), profiles),
    ]
