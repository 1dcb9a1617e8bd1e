"""Results that must not leave: their study is held, or their patient has been merged since they were made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from consilium.holding import merged
from record_store.database import Database
from record_store.instances import HELD, study_row
from record_store.tables import result_object


@dataclass(frozen=True, slots=True)
class Withholding:
    """Looks at the studies of results that are about to be sent."""

    db: Database

    def __call__(self, sop_instance_uids: Sequence[str]) -> Mapping[str, str]:
        """Return why, for those that must not be sent now. They are tried again, and end dead with the reason."""
        with self.db.read() as conn:
            query = select(result_object.c.sop_instance_uid, result_object.c.study_uid)
            of = conn.execute(query.where(result_object.c.sop_instance_uid.in_(sop_instance_uids))).all()
            why = {}
            for study_uid in {study_uid for _, study_uid in of}:
                study = study_row(conn, study_uid)
                held = study is not None and study.state == HELD
                why[study_uid] = "its study is held" if held else merged(conn, study_uid)
        return {uid: reason for uid, study_uid in of if (reason := why[study_uid]) is not None}
