"""Which models have read a study for nobody to see: in words for `consilium study explain`."""

from collections.abc import Sequence

from record_store.shadows import DONE, FAILED, MOST_ATTEMPTS, ShadowStudy


def shadows_in_words(rows: Sequence[ShadowStudy]) -> tuple[str, ...]:
    """Return a line for each model, and one for each reason why an image was not read."""
    return tuple(line for one in rows for line in _lines(one))


def _lines(one: ShadowStudy) -> list[str]:
    name = f"{one.model} {one.version}, revision {one.revision}"
    return [
        f"{name}: {_state(one)}",
        *(f"{name}: leaves out {count}: {reason}" for reason, count in sorted(one.left_out.items())),
        *(f"{name}: failed for {count}: {reason}" for reason, count in sorted(one.failures.items())),
    ]


def _state(one: ShadowStudy) -> str:
    images = f"{one.images} image" if one.images == 1 else f"{one.images} images"
    if one.state == DONE:
        return f"{images} read"
    again = "it is not tried again" if one.attempts >= MOST_ATTEMPTS else "it is tried again"
    if one.state == FAILED:
        return f"{images} read, and some failed; {again}"
    return f"it is being read, or its process has ended (attempt {one.attempts} of {MOST_ATTEMPTS})"
