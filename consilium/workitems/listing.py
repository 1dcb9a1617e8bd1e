"""What an operator sees of the steps that are performed here, and lets go on."""

from typing import Any

from clinical.errors import NotFound
from consilium.settings import Settings
from consilium.wiring import House
from record_store import workitems
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.workitems import WorkitemRow


def list_workitems(settings: Settings) -> list[dict[str, Any]]:
    """Return the steps, the newest change first. Their UIDs are the worklist's; studies are shown by digest."""
    house = House(settings)
    try:
        with house.db.read() as conn:
            return [
                _shown(one, [digest(each.study_uid) for each in workitems.studies_of(conn, one)])
                for one in workitems.every(conn)
            ]
    finally:
        house.db.dispose()


def retry_workitems(settings: Settings, workitem_uid: str | None) -> int:
    """Let steps that were given up go on where they stopped, all or one; return how many. Raises NotFound."""
    house = House(settings)
    try:
        with house.db.write() as conn:
            count = workitems.retry_dead(conn, workitem_uid, house.now())
            if not count and workitem_uid is not None:
                raise NotFound("no step that was given up has this UID; 'consilium dicom workitems' lists them")
            append_audit(
                conn,
                at=house.now(),
                action="workitem-retried",
                outcome="due",
                actor="operator",
                subject=digest(workitem_uid) if workitem_uid else "all",
                detail={"count": count},
            )
    finally:
        house.db.dispose()
    return count


def _shown(one: WorkitemRow, studies: list[str]) -> dict[str, Any]:
    return {
        "worklist": one.worklist,
        "workitem": one.workitem_uid,
        "rule": one.rule,
        "state": one.state if one.stopped_in is None else f"{one.state} ({one.stopped_in})",
        "studies": " ".join(studies),
        "told": f"{one.told} %" if one.told >= 0 else None,
        "results": one.outputs,
        "attempts": one.attempts,
        "why": one.why,
        "changed": f"{one.updated_at:%Y-%m-%d %H:%M:%S}",
    }
