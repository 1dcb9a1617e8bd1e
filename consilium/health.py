"""Alive and ready, in words (`/livez`, `/readyz`, `consilium doctor`).

A check answers None when all is well, else one sentence that says what to do. Nothing here names a patient.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from clinical.errors import ClinicalError
from consilium.supervise import children_state
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.migrate import pending_migrations

Check = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Readiness:
    """What each check said; problem is None when it passed."""

    problems: Mapping[str, str | None]

    @property
    def ready(self) -> bool:
        """True when every check passed."""
        return not any(self.problems.values())

    def as_json(self, *, in_words: bool = True) -> dict[str, object]:
        """Return the body of `/readyz`; without `in_words` only which checks fail, for callers we do not know."""
        checks = {
            name: "ok" if problem is None else problem if in_words else "failing"
            for name, problem in self.problems.items()
        }
        return {"status": "ready" if self.ready else "not ready", "checks": checks}


def readiness(checks: Mapping[str, Check]) -> Readiness:
    """Run every check; one that raises a ClinicalError has failed with its message."""
    return Readiness({name: _outcome(check) for name, check in checks.items()})


def _outcome(check: Check) -> str | None:
    try:
        return check()
    except ClinicalError as error:
        return error.message


def database_check(db: Database) -> Check:
    """Answer when the database does."""

    def check() -> str | None:
        with db.read() as conn:
            conn.execute(text("SELECT 1")).scalar_one()
        return None

    return check


def migrations_check(db: Database) -> Check:
    """Pass when the schema is the one that this version was written for."""

    def check() -> str | None:
        pending = pending_migrations(db)
        return f"{len(pending)} migrations pending; run 'consilium migrate'" if pending else None

    return check


def blob_space_check(blobs: Blobs, low_water_bytes: int) -> Check:
    """Pass while there is more free space than the low-water mark, below which C-STORE answers 0xA700."""

    def check() -> str | None:
        free = blobs.free_bytes()
        if free >= low_water_bytes:
            return None
        return f"{free >> 20} MB free, {low_water_bytes >> 20} MB wanted; free space or move CONSILIUM_DATA_DIR"

    return check


def models_check(report: Callable[[], Mapping[str, str | None]], expected: tuple[str, ...]) -> Check:
    """Pass when every expected model is present and unspoilt. report: model -> problem or None."""

    def check() -> str | None:
        said = report()
        problems = [
            problem if name in problem else f"{name}: {problem}"
            for name, problem in sorted(said.items())
            if problem
        ]
        problems += [f"{name}: not in the models folder" for name in expected if name not in said]
        return "; ".join(problems) or None

    return check


def children_check(data_dir: Path) -> Check:
    """Pass when every child of `consilium serve` is ready and knows of no problem; without a parent, always."""

    def check() -> str | None:
        troubled = [
            f"{role}: {child['problem']}"
            if child["state"] == "ready"
            else f"{role} {child['state']} (restarts: {child['restarts']}, last exit code: {child['last_exit']})"
            for role, child in (children_state(data_dir) or {}).items()
            if child["state"] != "ready" or child.get("problem")
        ]
        return "; ".join(troubled) or None

    return check
