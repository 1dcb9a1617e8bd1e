"""Which key comes before which: `%key` in a template makes it wait for the answer of that key."""

from collections.abc import Sequence

from cds.prefetch.template import PrefetchTemplate
from clinical.errors import Fault


def ordered(templates: Sequence[PrefetchTemplate]) -> tuple[PrefetchTemplate, ...]:
    """Return the templates with each after those it depends on (D5), else as they stood.

    Raises Fault for a key twice, a `%key` that is none of them, and a key that depends on itself.
    """
    return tuple(template for wave in waves(templates) for template in wave)


def waves(templates: Sequence[PrefetchTemplate]) -> tuple[tuple[PrefetchTemplate, ...], ...]:
    """Return the templates in groups; all of a group can be asked at once, once the groups before are answered.

    Raises Fault as `ordered`.
    """
    keys = [template.key for template in templates]
    if len(set(keys)) != len(keys):
        raise Fault("a prefetch key stands twice in one service")
    for template in templates:
        if unknown := template.parsed.keys - set(keys):
            raise Fault(f"the prefetch template {template.key} depends on {min(unknown)}, which is no key")
    found: list[tuple[PrefetchTemplate, ...]] = []
    waiting, settled = list(templates), set[str]()
    while waiting:
        wave = tuple(template for template in waiting if template.parsed.keys <= settled)
        if not wave:
            raise Fault("prefetch templates depend on themselves: " + ", ".join(t.key for t in waiting))
        found.append(wave)
        settled |= {template.key for template in wave}
        waiting = [template for template in waiting if template.key not in settled]
    return tuple(found)
