"""Query/retrieve (PS3.4 annex C) as services of the node: what is offered to whom, and who answers."""

from collections.abc import Callable
from functools import partial
from typing import Any

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, Association, build_context, evt
from pynetdicom.dimse_primitives import C_GET, C_MOVE

from dicom_node.query import find_scp, retrieve_scp
from dicom_node.query.access import May
from dicom_node.query.node import MODELS, Archive, calling_ae
from dicom_node.query.retrieve_scp import RetrieveScp
from dicom_node.service import Service

_PLAIN = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
_STORAGE = frozenset(str(one.abstract_syntax) for one in AllStoragePresentationContexts)


def query_retrieve_services(archive: Archive) -> list[Service]:
    """Return C-FIND, and C-MOVE and C-GET, for the callers that the archive's access names."""
    find = tuple(build_context(uid, _PLAIN) for uid, (may, _) in MODELS.items() if may is May.FIND)
    retrieve = tuple(build_context(uid, _PLAIN) for uid, (may, _) in MODELS.items() if may is not May.FIND)
    serving = RetrieveScp(archive)
    return [
        Service(
            find,
            {evt.EVT_C_FIND: lambda event: find_scp.answer_find(event, archive)},
            name="Query (C-FIND)",
            statuses=find_scp.STATUSES,
            remark="Query and retrieve are offered to the callers that a setting names, and to nobody else.",
            requested=partial(_prepare, archive=archive, serving=serving),
        ),
        Service(
            retrieve,
            {},
            name="Retrieve (C-MOVE, C-GET)",
            statuses=retrieve_scp.STATUSES,
            remark="Where C-GET is proposed the caller may be the SCP of any storage class, by role selection "
            "(PS3.7 D.3.3.4), in the transfer syntaxes that it proposes. C-MOVE sends to AEs of a setting.",
        ),
    ]


def _prepare(event: evt.Event, archive: Archive, serving: RetrieveScp) -> None:
    """Fit an association that is being asked for to its caller: what it may ask, and C-GET's storage contexts."""
    association = event.assoc
    caller = calling_ae(association)
    proposed = association.requestor.primitive.presentation_context_definition_list
    supported = {str(one.abstract_syntax): one for one in association.acceptor.supported_contexts}
    for uid, (may, _) in MODELS.items():
        if not archive.access.allows(caller, may):
            supported.pop(uid, None)  # "abstract syntax not supported" to who may not ask
    gets = {str(uid) for uid, (may, _) in MODELS.items() if may is May.GET}
    if any(str(one.abstract_syntax) in gets & supported.keys() for one in proposed):
        _take_the_other_role(association, supported)
    association.acceptor.supported_contexts = list(supported.values())
    _serve_retrievals(association, serving)


def _take_the_other_role(association: Association, supported: dict[str, Any]) -> None:
    """Let the caller of a C-GET be the SCP of storage (PS3.7 D.3.3.4), of classes that we do not take as well."""
    roles = association.requestor.role_selection
    for one in association.requestor.primitive.presentation_context_definition_list:
        uid = str(one.abstract_syntax)
        role = roles.get(one.abstract_syntax)
        if uid not in _STORAGE or role is None or not role.scp_role:
            continue
        taken = uid in supported
        syntaxes = supported[uid].transfer_syntax if taken else one.transfer_syntax
        context = build_context(uid, [syntax for syntax in syntaxes if syntax in ALL_TRANSFER_SYNTAXES])
        context.scu_role, context.scp_role = taken, True
        supported[uid] = context


def _serve_retrievals(association: Association, serving: RetrieveScp) -> None:
    """Have C-MOVE and C-GET answered by us: pynetdicom's events leave no room for streaming."""
    usual: Callable[..., None] = association._serve_request  # noqa: SLF001 - no public seam

    def serve(message: Any, context_id: int) -> None:  # noqa: ANN401 - pynetdicom's primitives
        context = association._accepted_cx.get(context_id)  # noqa: SLF001
        ours = isinstance(message, (C_GET, C_MOVE)) and message.is_valid_request and context is not None
        if ours and str(message.AffectedSOPClassUID) == context.abstract_syntax in MODELS:
            association.dimse.cancel_req = {}
            serving.serve(association, message, context)
            association.dimse.cancel_req = {}
        else:
            usual(message, context_id)

    association._serve_request = serve  # noqa: SLF001
