"""How long nobody comes instead of a process that has died: longer, the more of them died at once."""

LASTING_S = 5.0  # one that died sooner after it was ready counts as having died at once
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 60.0


def pause_s(quick_deaths: int) -> float:
    """Return how long to wait after so many deaths in a row, each at once: not at all after the first."""
    doubled = min(quick_deaths - 2, 60)  # a power of 1024 is an error, and 1,026 refusals are 17 hours
    return min(FIRST_PAUSE_S * 2.0**doubled, LONGEST_PAUSE_S) if quick_deaths > 1 else 0.0
