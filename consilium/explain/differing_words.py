"""Objects that came with a UID that was here already and other bytes: words for `consilium study explain`."""

from collections.abc import Sequence

from dicom_node.status import DUPLICATE_SOP_INSTANCE
from record_store.study_history import Act


def differing_in_words(acts: Sequence[Act], study: str) -> tuple[str, ...]:
    """Return a line for those of this study, and one for those whose UID is of another one. study: its digest."""
    own = [act for act in acts if act.detail.get("first_study", study) == study]
    strange = [act for act in acts if act not in own]
    return (
        *_in_words(own, "came again with other bytes", "the first bytes are kept"),
        *_in_words(strange, "came with the UID of one of another study", "not kept"),
    )


def _in_words(acts: Sequence[Act], how: str, then: str) -> tuple[str, ...]:
    if not acts:
        return ()
    last, objects = acts[-1], len({act.detail["instance"] for act in acts})
    count = f"{objects} object" if objects == 1 else f"{objects} objects"
    came = f"{count} {how}, last from {last.actor.removeprefix('ae:')} at {last.at:%Y-%m-%d %H:%M:%S} UTC"
    return (f"{came}: answered 0x{DUPLICATE_SOP_INSTANCE:04X}, and {then}",)
