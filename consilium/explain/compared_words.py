"""What jobs published: compared with what, by which order not; in words for `consilium study explain`."""

from collections.abc import Sequence

from record_store.study_history import Act


def compared_in_words(published: Sequence[Act]) -> tuple[str, ...]:
    """Return what jobs compared with earlier images, and why not; none of jobs that did not look for one."""
    lines: list[str] = []
    for act in published:
        model = act.actor.removeprefix("model:").replace("/", " ")
        if count := act.detail.get("compared"):
            lines.append(f"{model}: {count} of its images compared with an earlier one")
        lines += [
            f"{model}: not compared with an earlier image: {why}" for why in act.detail.get("not_compared", ())
        ]
        if why := act.detail.get("no_order"):
            lines.append(f"{model}: {why}")
    return tuple(lines)
