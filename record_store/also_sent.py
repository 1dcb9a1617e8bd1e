"""Objects that a retrieve of ours has brought, and that somebody sends of his own accord afterwards.

As a prior such a study was read by no model. Who sends it wants it read, though its bytes are here already.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Integer, String, bindparam, case, literal_column, or_, select, update

from record_store.sql import Run
from record_store.tables import instance, prior, study, study_job
from record_store.times import to_text

if TYPE_CHECKING:
    from record_store.instances import ReceivedInstance

FETCHED, ALSO_SENT = 1, 2  # in `instance.fetched`; 0: sent, as far as its sender has said
# A statement that is run with names has no other values.
_FETCHED, _ALSO_SENT = literal_column(str(FETCHED), Integer), literal_column(str(ALSO_SENT), Integer)
_TITLE, _AT = bindparam("title", type_=String), bindparam("at", type_=String)
_TAKE_OVER = (
    update(instance)
    .where(
        instance.c.sop_instance_uid == bindparam("uid"),
        # Whoever was first sends it again: an archive that does not say that it answers a C-MOVE may do so.
        or_(
            instance.c.fetched == _FETCHED, (instance.c.fetched != _ALSO_SENT) & (instance.c.calling_ae != _TITLE)
        ),
        select(prior.c.prior_uid).where(prior.c.prior_uid == instance.c.study_uid).exists(),
    )
    .values(
        fetched=_ALSO_SENT,
        calling_ae=case((instance.c.fetched == _FETCHED, _TITLE), else_=instance.c.calling_ae),
    )
    .returning(instance.c.study_uid)
)
_REOPEN = (
    update(study)
    .where(
        study.c.study_uid == bindparam("uid"),
        study.c.state == literal_column("'closed'"),
        ~select(study_job.c.study_uid).where(study_job.c.study_uid == study.c.study_uid).exists(),
    )
    .values(
        state=literal_column("'open'"),
        revision=literal_column("revision + 1"),
        # Another machine's clock may be ahead of ours: the quiet time would end too early.
        last_received_at=case((study.c.last_received_at > _AT, study.c.last_received_at), else_=_AT),
    )
)


def take_over(run: Run, one: "ReceivedInstance") -> Sequence[str]:
    """Write down that an object that is here was sent too; return its study when it was a prior's until now."""
    if one.fetched:
        return ()
    return [uid for (uid,) in run(_TAKE_OVER, {"uid": one.sop_instance_uid, "title": one.calling_ae})]


def reopen_unread(run: Run, study_uid: str, now: datetime) -> None:
    """Let a closed study that no model was asked to read be closed anew."""
    run(_REOPEN, {"uid": study_uid, "at": to_text(now)})
