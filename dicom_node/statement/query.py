"""What queries match and return (PS3.2: attributes of the query/retrieve SOP classes)."""

from pydicom.datadict import dictionary_description

from dicom_node.query.attributes import ATTRIBUTES, UNIQUE
from dicom_node.statement import contexts
from dicom_node.statement.node import Node
from dicom_node.statement.text import table


def lines(node: Node) -> list[str]:
    """Return the section."""
    if not any("FIND" in contexts.name(one.sop_class) for one in contexts.offers_of(node.accepted)):
        return ["## Queries", "", "Not offered."]
    return [
        "## Queries",
        "",
        "Keys that are matched and returned, at their level and below it; others are returned empty. Matching is",
        "that of PS3.4 C.2.2.2: single value, list of UIDs, wild cards, ranges, universal.",
        "",
        *table(
            ("level", "tag", "attribute", "VR", ""),
            (
                (
                    one.level.name,
                    f"({one.tag >> 16:04X},{one.tag & 0xFFFF:04X})",
                    dictionary_description(one.tag),
                    one.vr,
                    "unique key" if UNIQUE[one.level] is one else "counted" if one.counted else "",
                )
                for one in ATTRIBUTES
            ),
        ),
    ]
