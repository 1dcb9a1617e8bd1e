"""Who and what is in an export, worked out before anything is written: a table on the disk, not in memory.

A reference is kept when what it points to is in the export, so that has to be known first.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from clinical.destination_pseudonyms import Pseudonyms, patient_text

_TABLES = """
CREATE TABLE patient (id TEXT PRIMARY KEY, person TEXT, pseudonym TEXT UNIQUE, days INTEGER,
  denied INTEGER NOT NULL DEFAULT 0, permitted INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE kept (type TEXT, id TEXT, patient TEXT, PRIMARY KEY (type, id)) WITHOUT ROWID;
CREATE TABLE link (type TEXT, id TEXT, target_type TEXT, target_id TEXT);
"""
_CACHED = 65_536
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Person:
    """A patient of the export: how he is called there, and by how many days his dates are moved back."""

    pseudonym: str
    days: int


@dataclass(frozen=True, slots=True)
class Row:
    """A resource of the store. patient: the one that its hot column names. links: what it refers to otherwise."""

    type: str
    id: str
    patient: str | None
    links: tuple[tuple[str, str], ...] = ()


class Cohort:
    """opt_in: who has not said yes is left out; else who has said no."""

    def __init__(self, file: Path, names: Pseudonyms, *, opt_in: bool) -> None:
        self._db = sqlite3.connect(file)
        self._db.executescript(
            f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-16000;{_TABLES}"
        )
        self._names, self._opt_in = names, opt_in
        self.known: Callable[[str, str], str | None] = lru_cache(_CACHED)(self._known)
        self.person: Callable[[str], Person | None] = lru_cache(_CACHED)(self._person)

    def close(self) -> None:
        """Close the table."""
        self._db.close()

    def add_patient(self, name: str, dicom: tuple[str, str] | None) -> None:
        """Add a Patient. dicom: issuer and number under which its images go, None when no image can be its.

        Two Patients with one number are one person: both have the same days, the first the number's pseudonym, and
        what one of them denies counts for the other.
        """
        text = patient_text(*dicom) if dicom else f"fhir\x1f{name}"
        own = self._names.resource_id("Patient", name)
        wanted = self._names.patient_id(text) if dicom else own
        taken = self._db.execute("SELECT 1 FROM patient WHERE pseudonym = ?", (wanted,)).fetchone()
        self._say(name)
        values = (text, own if taken else wanted, self._names.shift_days(text), name)
        self._db.execute("UPDATE patient SET person = ?, pseudonym = ?, days = ? WHERE id = ?", values)

    def says(self, name: str, *, yes: bool) -> None:
        """Note what a consent of a Patient says of research."""
        self._say(name)
        column = "permitted" if yes else "denied"
        self._db.execute(f"UPDATE patient SET {column} = 1 WHERE id = ?", (name,))  # noqa: S608 - our own words

    def add(self, rows: Iterable[Row]) -> None:
        """Add resources; which of them stay is settled by `settle`."""
        for row in rows:
            self._db.execute("INSERT OR IGNORE INTO kept VALUES (?, ?, ?)", (row.type, row.id, row.patient))
            self._db.executemany(
                "INSERT INTO link VALUES (?, ?, ?, ?)", [(row.type, row.id, *one) for one in row.links]
            )

    def settle(self, kinds: Iterable[str]) -> dict[str, int]:
        """Leave out what is of patients who are left out; return how many patients those are, and resources.

        kinds: types that are exported; the others only tell whose a resource is.

        What names no patient itself (a Provenance) is of the patients of what it refers to: it stays while one of
        them does, and has a calendar when there is but one.
        """
        run = self._db.execute
        run("CREATE INDEX link_of ON link (type, id)")
        run("UPDATE patient SET denied = 1 WHERE person IN (SELECT person FROM patient WHERE denied)")
        if self._opt_in:  # also who has no Patient resource has not said yes
            run("INSERT OR IGNORE INTO patient (id) SELECT DISTINCT patient FROM kept WHERE patient IS NOT NULL")
            run("INSERT OR IGNORE INTO patient (id) SELECT target_id FROM link WHERE target_type = 'Patient'")
            run("UPDATE patient SET denied = 1 WHERE permitted = 0")
        run("CREATE TABLE exported (type TEXT PRIMARY KEY)")
        self._db.executemany("INSERT OR IGNORE INTO exported VALUES (?)", [(kind,) for kind in kinds])
        count = "SELECT count(*) FROM kept WHERE type IN (SELECT type FROM exported)"
        before = run(count).fetchone()[0]
        people = run("SELECT count(*) FROM patient WHERE denied AND pseudonym IS NOT NULL").fetchone()[0]
        run("CREATE TABLE of (type TEXT, id TEXT, patient TEXT, direct INTEGER, PRIMARY KEY (type, id, patient))")
        run("INSERT OR IGNORE INTO of SELECT type, id, target_id, 1 FROM link WHERE target_type = 'Patient'")
        found = 1
        while found > 0:  # a step of the way a pass: Provenance, Observation, Encounter, Patient
            found = run(
                "INSERT OR IGNORE INTO of SELECT link.type, link.id, kept.patient, 0 FROM link JOIN kept"
                " ON kept.type = target_type AND kept.id = target_id WHERE kept.patient IS NOT NULL"
            ).rowcount
            run(
                "UPDATE kept SET patient = (SELECT CASE count(*) WHEN 1 THEN min(patient) END FROM of WHERE"
                " of.type = kept.type AND of.id = kept.id) WHERE patient IS NULL AND type <> 'Patient'"
            )
        out = "(SELECT id FROM patient WHERE denied)"
        run(f"DELETE FROM kept WHERE patient IN {out} OR (type = 'Patient' AND id IN {out})")  # noqa: S608
        own = "of.type = kept.type AND of.id = kept.id"
        run(
            f"DELETE FROM kept WHERE EXISTS (SELECT 1 FROM of WHERE {own} AND direct AND patient IN {out})"  # noqa: S608
            f" OR (EXISTS (SELECT 1 FROM of WHERE {own}) AND NOT EXISTS"
            f" (SELECT 1 FROM of WHERE {own} AND patient NOT IN {out}))"
        )
        run("DELETE FROM kept WHERE type NOT IN (SELECT type FROM exported)")
        return {"patients": people, "resources": before - run(count).fetchone()[0]}

    def patient_of(self, kind: str, name: str) -> str | None:
        """Return the one patient that a resource is of, None when it is nobody's or of several."""
        if kind == "Patient":
            return name
        row = self._db.execute("SELECT patient FROM kept WHERE type = ? AND id = ?", (kind, name)).fetchone()
        return row[0] if row else None

    def days_of(self, patient: str) -> int:
        """Return by how many days a patient's dates are moved, also of one whose Patient is not here."""
        person = self.person(patient)
        return person.days if person else self._names.shift_days(f"fhir\x1f{patient}")

    def counts(self) -> Mapping[str, int]:
        """Return how many resources of each type are in the export."""
        return dict(self._db.execute("SELECT type, count(*) FROM kept GROUP BY type ORDER BY type"))

    def _known(self, kind: str, name: str) -> str | None:
        if self._db.execute("SELECT 1 FROM kept WHERE type = ? AND id = ?", (kind, name)).fetchone() is None:
            return None
        person = self.person(name) if kind == "Patient" else None
        return person.pseudonym if person else self._names.resource_id(kind, name)

    def _person(self, name: str) -> Person | None:
        row = self._db.execute("SELECT pseudonym, days FROM patient WHERE id = ?", (name,)).fetchone()
        return Person(*row) if row and row[0] is not None else None

    def _say(self, name: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO patient (id) VALUES (?)", (name,))


def in_groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield rows in lists of at most _AT_ONCE."""
    held: list[Row] = []
    for row in rows:
        held.append(row)
        if len(held) == _AT_ONCE:
            yield held
            held = []
    if held:
        yield held
