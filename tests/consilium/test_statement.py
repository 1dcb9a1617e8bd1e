"""The conformance statement is what a running node negotiates: all of it, and nothing else."""

from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role, evt, sop_class
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation

import dicom_node
from benchmarks.raw_peer import A_ASSOCIATE_RJ, IMPLICIT, RawPeer, association_request
from clinical.identity import IssuerTable
from consilium.node_services import node_offers
from consilium.settings import load_settings
from consilium.statement import EVERY_SERVICE, node_of
from consilium.wiring import House
from dicom_node import find
from dicom_node.bounds import Bounds
from dicom_node.commitment import ask
from dicom_node.destinations import Destination
from dicom_node.incoming import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION
from dicom_node.preflight import preflight
from dicom_node.query import get_scu, scu
from dicom_node.results import ENCODERS
from dicom_node.scp import ScpSettings, StorageScp
from dicom_node.scu import send
from dicom_node.sop_classes import STORAGE_COMMITMENT_PUSH_MODEL, storage_classes
from dicom_node.statement import as_markdown
from dicom_node.statement.contexts import offers_of
from dicom_node.statement.objects import example, kinds
from dicom_node.ups.events import STATUS_CHANGE, report_each, restarted
from dicom_node.ups.scu import UpsPull
from record_store.migrate import migrate_if_needed

pytestmark = pytest.mark.slow
MOST_CONTEXTS = 128  # PS3.8 9.3.2.2
PRIVATE = UID("1.2.840.113619.5.2")
TITLE = "CONSILIUM"


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return load_settings(**EVERY_SERVICE, data_dir=tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="module")
def stated(settings, tmp_path_factory):
    return node_of(settings, tmp_path_factory.mktemp("empty"))


@contextmanager
def running(settings):
    """Yield the port of a node with every service that the settings switch on."""
    house = House(settings)
    migrate_if_needed(house.db)
    scp = StorageScp(
        ScpSettings(ae_title=TITLE, port=0, low_water_bytes=0, private_syntaxes=settings.private_encodings),
        db=house.db,
        blobs=house.blobs,
        issuers=IssuerTable({}),
        now=house.now,
        services=node_offers(house),
    )
    yield scp.start()
    scp.stop()
    house.db.dispose()


@pytest.fixture(scope="module")
def port(settings):
    with running(settings) as number:
        yield number


@contextmanager
def association(port, wanted, *, more=()):
    """Propose each (SOP class, syntaxes, our role) in a context of its own."""
    ae = AE(ae_title="TEST")
    ae.requested_contexts = [build_context(uid, syntaxes) for uid, syntaxes, _ in wanted]
    roles = {
        uid: build_role(uid, scu_role="SCU" in role, scp_role="SCP" in role) for uid, _, role in wanted if role
    }
    one = ae.associate("127.0.0.1", port, ae_title=TITLE, ext_neg=[*roles.values(), *more])
    try:
        yield one
    finally:
        if one.is_established:
            one.release()


def accepted(port, wanted):
    """Return the proposals that were accepted, in associations of 128 each."""
    found, rest = set(), iter(wanted)
    while some := list(islice(rest, MOST_CONTEXTS)):
        with association(port, some) as one:
            if one.is_established:
                taken = {context.context_id: context for context in one.accepted_contexts}
                for number, (uid, syntaxes, role) in enumerate(some):
                    context = taken.get(2 * number + 1)
                    if context is not None and (not role or (context.as_scp if "SCP" in role else context.as_scu)):
                        assert [*context.transfer_syntax] == [*syntaxes]
                        found.add((uid, *syntaxes, role))
    return found


def listed(stated):
    """Return each listed context as (SOP class, [syntax], the role that a caller has to ask for)."""
    return [
        (UID(one.sop_class), [UID(syntax)], "SCP" if role == "SCU" else "")
        for one in offers_of(stated.accepted)
        for syntax in one.syntaxes
        for role in one.role.split(", ")
    ]


def test_every_listed_context_is_accepted_by_a_running_node(stated, port):
    wanted = listed(stated)
    assert len(wanted) > 700
    assert accepted(port, wanted) == {(uid, *syntaxes, role) for uid, syntaxes, role in wanted}


def test_a_service_that_is_not_made_yet_is_known_by_the_classes_that_it_will_have(settings):
    for offer in node_offers(House(settings)):
        assert offer.classes == frozenset().union(*(one.classes for one in offer.services()))


def known_classes():
    """Every SOP class that pynetdicom has a name for."""
    return {value for value in vars(sop_class).values() if isinstance(value, sop_class.SOPClass)}


def test_nothing_that_is_not_listed_is_accepted(stated, port):
    there = {uid for uid, _, _ in listed(stated)}
    elsewhere = [(UID(one), [ExplicitVRLittleEndian], "") for one in known_classes() - there]
    assert len(elsewhere) > 50
    unknown = [(UID("1.2.826.0.1.3680043.9.1"), [ImplicitVRLittleEndian], "")]
    private = [(uid, [PRIVATE], "") for uid in sorted(there)]
    assert accepted(port, elsewhere + unknown + private) == set()


@pytest.mark.parametrize("more", [{}, EVERY_SERVICE], ids=["storage alone", "every service"])
def test_a_private_syntax_that_the_site_names_is_listed_and_accepted_for_every_storage_class(tmp_path, more):
    settings = load_settings(**more, data_dir=tmp_path, dicom_private_syntaxes={str(PRIVATE): "implicit"})
    stated = node_of(settings, tmp_path / "empty")
    wanted = [one for one in listed(stated) if one[1] == [PRIVATE]]
    assert {uid for uid, _, _ in wanted} == set(storage_classes("images"))
    if more:  # so that pynetdicom serves it
        wanted.append((UID(STORAGE_COMMITMENT_PUSH_MODEL), [ImplicitVRLittleEndian], ""))
    with running(settings) as port:
        assert accepted(port, wanted) == {(uid, *syntaxes, role) for uid, syntaxes, role in wanted}
    line = f"| GE Implicit VR, pixels big endian (private) | {PRIVATE} | Implicit VR Little Endian |"
    assert line in as_markdown(stated)


def test_a_caller_of_c_get_may_be_the_scp_of_any_storage_class_and_nobody_else(port):
    get = (sop_class.StudyRootQueryRetrieveInformationModelGet, [ImplicitVRLittleEndian], "")
    held = (sop_class.SegmentationStorage, [ExplicitVRLittleEndian], "SCP")
    assert accepted(port, [get, held]) == {(uid, *syntaxes, role) for uid, syntaxes, role in (get, held)}
    # Without C-GET the other role is nobody's.
    assert accepted(port, [held]) == set()


def test_association_policies_are_the_stated_ones(port):
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 5
    echo = [(sop_class.Verification, [ImplicitVRLittleEndian], "")]
    with association(port, echo, more=[window]) as one:
        said = one.acceptor.user_information
        assert one.acceptor.maximum_length == Bounds().data_pdu
        assert not [item for item in said if isinstance(item, AsynchronousOperationsWindowNegotiation)]
        assert one.acceptor.implementation_class_uid == IMPLEMENTATION_UID
        assert one.acceptor.implementation_version_name == IMPLEMENTATION_VERSION
    request = association_request({1: (str(sop_class.Verification), (IMPLICIT,))}, called="SOMEBODY")
    with RawPeer(port) as peer:
        peer.send(request)
        kind, body = peer.read_pdu()
    assert (kind, [*body[1:4]]) == (A_ASSOCIATE_RJ, [1, 1, 7])


@pytest.fixture(scope="module")
def peer(stated):
    """A peer that takes all that we propose; yields where it is, and what it was proposed."""
    ae, proposed = AE(ae_title="PEER"), set()
    for proposal in stated.proposals:
        for uid in proposal.classes:
            ae.add_supported_context(uid, list(proposal.syntaxes), scu_role=True, scp_role=True)

    def note(event):
        for one in event.assoc.requestor.primitive.presentation_context_definition_list:
            proposed.update((str(one.abstract_syntax), str(syntax)) for syntax in one.transfer_syntax)

    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_REQUESTED, note)])
    yield Destination("peer", "127.0.0.1", server.server_address[1], "PEER"), proposed
    server.shutdown()


def files_of_results(folder):
    for encoder, _, _ in kinds():
        path = folder / f"{encoder.kind}.dcm"
        example(encoder).save_as(path, enforce_file_format=True)
        yield path


def questions(destination, folder):
    study = scu.query("STUDY", {"StudyInstanceUID": "2.25.2"})
    yield partial(find.instances_of_study, destination, TITLE, "2.25.2")
    models = (sop_class.ModalityWorklistInformationFind, sop_class.UnifiedProcedureStepPull)
    for more in ({}, {"patient_root": True}, *({"model": one} for one in models)):
        yield partial(scu.find, destination, TITLE, study, **more)
    for root in (False, True):
        yield partial(scu.move, destination, TITLE, study, TITLE, patient_root=root)
    yield partial(UpsPull(destination, TITLE).read, "2.25.3")
    yield partial(UpsPull(destination, TITLE).watch, "2.25.3")
    yield lambda: list(report_each(destination, TITLE, [("2.25.3", STATUS_CHANGE, restarted())]))
    yield partial(get_scu.get, destination, TITLE, study, [], folder, lambda *_: None)


def test_what_is_proposed_is_listed_and_what_is_listed_is_proposed(stated, peer, tmp_path):
    destination, proposed = peer
    preflight(destination, TITLE)
    ask(destination, TITLE, "2.25.1", [("1.2", "1.3")], lambda *_: None, linger_s=0)
    for question in questions(destination, tmp_path):
        with suppress(find.Unanswered, scu.Unanswered):  # the peer takes the context and knows no studies
            question()
    send(list(files_of_results(tmp_path)), destination, TITLE)
    listed_here = {
        (str(uid), str(syntax)) for one in stated.proposals for uid in one.classes for syntax in one.syntaxes
    }
    assert proposed == listed_here


def test_no_module_associates_without_a_line_among_the_proposals(stated):
    package = Path(dicom_node.__file__).parent
    named = {one.module for one in stated.proposals}
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).with_suffix("").as_posix()
        if "with associated(" in path.read_text(encoding="utf-8"):
            assert name in named


def test_every_kind_of_result_is_listed_with_its_required_attributes():
    found = {encoder.kind: attributes for encoder, _, attributes in kinds()}
    assert set(found) == {one.kind for one in ENCODERS}
    for attributes in found.values():
        origin = {one.name: one.origin for one in attributes}
        assert origin["Patient ID"] == origin["Study Instance UID"] == "of the image"
        assert origin["SOP Instance UID"] == origin["Series Instance UID"] == "made for the result"
        assert {one.type for one in attributes} >= {"1", "2", "3"}


@pytest.mark.parametrize(("plain", "ports"), [(False, "2762 with TLS"), (True, "11112 and 2762 with TLS")])
def test_the_ports_are_those_that_are_opened(tmp_path, plain, ports):
    files = {f"dicom_tls_{name}_file": tmp_path / f"{name}.pem" for name in ("cert", "key", "ca")}
    settings = load_settings(dicom_plain=plain, dicom_tls_port=2762, **files)
    assert f"| port | {ports} |" in as_markdown(node_of(settings, tmp_path))


def test_the_page_holds_what_the_command_prints(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "conformance" / "dicom-statement.md"
    assert page.read_text(encoding="utf-8") == as_markdown(node_of(load_settings(**EVERY_SERVICE), tmp_path)), (
        "consilium dicom conformance --every-service > docs/conformance/dicom-statement.md"
    )
