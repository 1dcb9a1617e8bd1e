"""Who says it, and where a card leads (CDS Hooks 3.0, "Source" and "Link")."""

from dataclasses import dataclass
from enum import StrEnum

from cds.legal import JsonObject, coding_json, compact, is_text, must, must_be_coding
from cds.markdown import plain
from cds.origins import PublicUrl
from clinical.codes import Coding


class LinkType(StrEnum):
    """absolute: opens as it is. smart: the EHR launches a SMART app."""

    ABSOLUTE = "absolute"
    SMART = "smart"


@dataclass(frozen=True, slots=True)
class Source:
    """Who says it.

    topic: what the card is about; Epic honours a user's override only by its code. None only where a client's line
    of the specification has no topic (cds.adapt).
    url: more about who says it (the model's card), not about the patient. icon: a PNG of 100x100 pixels, opaque.
    """

    label: str
    topic: Coding | None
    url: PublicUrl | None = None
    icon: PublicUrl | None = None

    def __post_init__(self) -> None:
        must(is_text(plain(self.label)), "the source has no label")
        if self.topic is not None:
            must_be_coding(self.topic, "the topic")

    def to_json(self) -> JsonObject:
        """Return the source as wire JSON."""
        return compact(
            {
                "label": plain(self.label),
                "url": self.url and self.url.text,
                "icon": self.icon and self.icon.text,
                "topic": self.topic and coding_json(self.topic),
            }
        )


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a card. app_context only with type smart (K9, cds-resp-3).

    spare: other links of the card lead to the same thing, so a client that cannot open it misses nothing.
    `autolaunchable` is not offered: a card whose link opens by itself may never be seen (K9).
    """

    label: str
    url: PublicUrl
    type: LinkType = LinkType.ABSOLUTE
    app_context: str | None = None
    spare: bool = False

    def __post_init__(self) -> None:
        must(is_text(plain(self.label)), "a link has no label")
        smart = self.type is LinkType.SMART
        must(self.app_context is None or smart, "appContext goes with smart links only")
        must(self.app_context is None or is_text(self.app_context), "an appContext says nothing")

    def to_json(self) -> JsonObject:
        """Return the link as wire JSON."""
        return compact(
            {
                "label": plain(self.label),
                "url": self.url.text,
                "type": self.type.value,
                "appContext": self.app_context,
            }
        )
