"""What an import did, counted."""

from dataclasses import dataclass, fields


@dataclass(slots=True)
class Tally:
    """Resources by what became of them. unchanged: they were here already. ignored: reads of a Bundle."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    refused: int = 0
    ignored: int = 0

    def add(self, other: "Tally") -> None:
        """Add another tally to this one."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    @property
    def total(self) -> int:
        """How many resources were looked at."""
        return sum(getattr(self, one.name) for one in fields(self))
