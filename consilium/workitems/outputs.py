"""The results of a step as references, and where they can be had (PS3.3 table 10-3b)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydicom import dcmread
from sqlalchemy import Connection

from consilium.rules.workitems import WorkitemRule
from dicom_node.ups.reports import OutputSeries
from record_store.blobs import Blobs
from record_store.deliveries import PENDING, SENT, SUPERSEDED, of_objects
from record_store.readings import DONE, ResultObject, jobs_of_study, recalled_models, result_objects


@dataclass(frozen=True, slots=True)
class Places:
    """Where results can be had. titles: AE title of each archive that keeps them under their own names, by name.

    ours: our AE title where others may fetch from us, else "". url_of: study and series UID -> where by WADO-RS.
    """

    titles: Mapping[str, str]
    ours: str
    url_of: Callable[[str, str], str]


def outputs_of(
    conn: Connection, blobs: Blobs, study_uids: Sequence[str], rule: WorkitemRule, places: Places
) -> list[OutputSeries]:
    """Return the results of these studies that a rule counts, a series each.

    None that a newer one replaces, and none of a model that was recalled.
    """
    series: dict[tuple[str, str], list[ResultObject]] = {}
    for one in _made(conn, study_uids, rule):
        with blobs.local_path(one.sha256) as path:
            uid = str(
                dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID
            )
        series.setdefault((one.study_uid, uid), []).append(one)
    return [_series(conn, *key, objects, places) for key, objects in sorted(series.items())]


def sending(conn: Connection, job_keys: Sequence[str]) -> int:
    """Return how many results of these jobs are on their way to a destination."""
    uids = [one.sop_instance_uid for key in job_keys for one in result_objects(conn, key)]
    return len({one.sop_instance_uid for one in of_objects(conn, uids) if one.state == PENDING})


def _made(conn: Connection, study_uids: Sequence[str], rule: WorkitemRule) -> list[ResultObject]:
    found: list[ResultObject] = []
    for study_uid in study_uids:
        jobs = [job for job in jobs_of_study(conn, study_uid) if job.state == DONE and rule.counts(job.model)]
        last = {job.model: job.model_version for job in jobs}  # oldest first
        recalled = recalled_models(conn, jobs)
        keys = [
            job.job_key
            for job in jobs
            if job.model_version == last[job.model] and (job.model, job.model_version) not in recalled
        ]
        found += [one for key in keys for one in result_objects(conn, key)]
    uids = [one.sop_instance_uid for one in found]
    replaced = {one.sop_instance_uid for one in of_objects(conn, uids) if one.state == SUPERSEDED}
    return [one for one in found if one.sop_instance_uid not in replaced]


def _series(
    conn: Connection, study_uid: str, series_uid: str, objects: Sequence[ResultObject], places: Places
) -> OutputSeries:
    uids = [one.sop_instance_uid for one in objects]
    sent = {(one.sop_instance_uid, one.destination) for one in of_objects(conn, uids) if one.state == SENT}
    everywhere = [name for name in places.titles if all((uid, name) in sent for uid in uids)]
    titles = [places.titles[name] for name in everywhere] + ([places.ours] if places.ours else [])
    references = tuple((one.sop_class_uid, one.sop_instance_uid) for one in objects)
    url = places.url_of(study_uid, series_uid)
    return OutputSeries(study_uid, series_uid, references, tuple(dict.fromkeys(titles)), (url,))
