"""The table of callers: what is not in it is refused, with the reason."""

import subprocess

import pytest

from dicom_node.callers import Callers, Refusal, caller
from dicom_node.gate import SAY_AGAIN_S, Sparingly
from dicom_node.negotiation import NotAccepted, negotiate, not_accepted
from dicom_node.request_pdu import ProposedContext
from dicom_node.tls import PeerCertificate
from record_store.exchanges import Kind

CT, SR, FIND, PRINT = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.88.11",
    "1.2.840.10008.5.1.4.1.2.2.1",
    "1.2.840.10008.5.1.1.9",
)
EXPLICIT, PRIVATE = "1.2.840.10008.1.2.1", "1.2.840.113619.5.2"
CT1 = PeerCertificate(frozenset({"ct1.example.org"}), "ab" * 32)


@pytest.mark.parametrize(
    ("entries", "address", "certificate", "why"),
    [
        ([], "192.0.2.1", None, None),
        (["10.0.0.0/8"], "10.1.2.3", None, None),
        (["10.0.0.0/8"], "192.0.2.1", None, Refusal.ADDRESS),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", None, None),
        (["2001:db8::/32"], "2001:db8::1", None, None),
        (["name:CT1.example.org"], "192.0.2.1", CT1, None),
        (["name:ct1.example.org"], "192.0.2.1", None, Refusal.NO_CERTIFICATE),
        (["name:ct2.example.org"], "192.0.2.1", CT1, Refusal.CERTIFICATE),
        (["sha256:" + ":".join(["AB"] * 32)], "192.0.2.1", CT1, None),
        (["10.0.0.0/8", "name:ct1.example.org"], "192.0.2.1", CT1, Refusal.ADDRESS),
    ],
)
def test_an_ae_may_call_from_its_addresses_with_its_certificate(entries, address, certificate, why):
    assert Callers({"CT1": entries}).why_not("CT1", address, certificate) is why


def test_a_title_that_is_not_in_the_table_is_refused():
    assert Callers({"CT1": []}).why_not("CT2", "10.1.2.3", CT1) is Refusal.CALLING_AE


def test_an_empty_table_lets_everybody_in_only_where_it_is_not_closed():
    assert Callers({}).why_not("CT1", "10.1.2.3", None) is None
    assert Callers({}, closed=True).why_not("CT1", "10.1.2.3", None) is Refusal.CALLING_AE


@pytest.mark.parametrize("entry", ["anywhere", "10.0.0.0/99", "sha256:ab", "name:", ""])
def test_an_entry_that_is_none_of_these_is_refused(entry):
    with pytest.raises(ValueError, match="expected"):
        caller([entry])


def test_the_same_refusal_is_said_once_a_minute_with_its_count():
    clock = [0.0]
    said = Sparingly(lambda: clock[0])
    assert [said.again("a") for _ in range(100)] == [1] + [None] * 99
    assert said.again("b") == 1
    clock[0] += SAY_AGAIN_S
    assert said.again("a") == 100


def test_a_scanner_with_ever_new_titles_does_not_grow_the_memory():
    said = Sparingly()
    for number in range(10_000):
        said.again(number)
    assert len(said._said) <= 256


@pytest.mark.slow
@pytest.mark.parametrize(
    ("called", "table", "told", "why"),
    [
        ("OTHER", {"CT1": []}, "Called AE Title Not Recognized", Refusal.CALLED_AE),
        ("CONSILIUM", {"CT2": []}, "Calling AE Title Not Recognized", Refusal.CALLING_AE),
        ("CONSILIUM", {"CT1": ("10.0.0.0/8",)}, "Calling AE Title Not Recognized", Refusal.ADDRESS),
    ],
)
def test_dcmtk_is_told_the_reason_and_so_are_log_metric_and_audit(node, program, caplog, called, table, told, why):
    noted = []
    node.start(calling=table, note=noted.append)
    command = [program("echoscu"), "-aet", "CT1", "-aec", called, "127.0.0.1", str(node.port)]
    for _ in range(3):
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert told in ended.stdout + ended.stderr
    assert [one.note for one in noted if one.kind is Kind.REFUSED] == [why] * 3
    assert [one.why for one in node.seen if hasattr(one, "why")] == [why] * 3
    assert len([one for one in caplog.records if "association refused" in one.getMessage()]) == 1


def test_of_each_class_that_is_not_accepted_the_reason_is_told():
    proposed = [(CT, PRIVATE), (CT, EXPLICIT), (SR, EXPLICIT), (SR, PRIVATE), (FIND, EXPLICIT), (PRINT, EXPLICIT)]
    contexts = [ProposedContext(2 * n + 1, one, (syntax,)) for n, (one, syntax) in enumerate(proposed)]
    taken = {CT: frozenset({EXPLICIT})}
    assert not_accepted(negotiate(contexts, taken), taken) == {
        NotAccepted.STORAGE: [SR],
        NotAccepted.ASKING: [FIND],
        NotAccepted.SERVICE: [PRINT],
    }
    assert not_accepted(negotiate(contexts[:1], taken), taken) == {NotAccepted.TRANSFER_SYNTAX: [CT]}


@pytest.mark.slow
def test_who_is_let_in_and_may_do_nothing_finds_the_reason_in_the_log_once_a_minute(node, program, caplog):
    node.start()
    command = [program("findscu"), "-S", "-aet", "CT1", "-aec", "CONSILIUM", "-k", "StudyDate", "127.0.0.1"]
    for _ in range(2):
        ended = subprocess.run([*command, str(node.port)], capture_output=True, text=True, timeout=60, check=False)
        assert "No Acceptable Presentation Contexts" in ended.stdout + ended.stderr
    (said,) = [one for one in caplog.records if "presentation contexts not accepted" in one.getMessage()]
    assert said.levelname == "WARNING"
    assert (said.calling_ae, said.why, said.sop_class) == ("CT1", NotAccepted.ASKING, [FIND])
