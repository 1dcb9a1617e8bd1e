"""Objects are received by processes beside the one that listens: its promises hold whichever process serves."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pynetdicom.dsutils import encode
from sqlalchemy import select

from benchmarks.dicom_receivers import processes_of
from benchmarks.dicom_secured import certificate
from benchmarks.raw_peer import EXPLICIT, ConnectionEnded, RawPeer, message, store_command
from dicom_node.bounds import Bounds
from dicom_node.channel import Channel, ChannelClosed, channels
from dicom_node.direct import Store
from dicom_node.pauses import pause_s
from dicom_node.receiver import Receiver
from dicom_node.testing import cr_dataset
from record_store.blobs import open_blobs
from record_store.database import open_database
from record_store.tables import instance
from record_store.testing import database

CR = "1.2.840.10008.5.1.4.1.1.1"
CHILD = """
import os, sys, time
from datetime import UTC, datetime
from pathlib import Path
import structlog
from clinical.identity import IssuerTable
from dicom_node.bounds import Bounds
from dicom_node.scp import ReceiversSeen, ScpSettings, StorageScp
from dicom_node.tls import Credentials, TlsContexts
from record_store.blobs import open_blobs
from record_store.database import open_database
from record_store.taking import Flush
folder, idle_s, slow_s = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
pem = Path(sys.argv[4]) if sys.argv[4] else None
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
def say(*words):
    print(" ".join(map(str, words)) + "\\n", end="", flush=True)  # in one piece: two threads may speak at once
blobs = open_blobs(f"file://{folder}/blobs", folder / "incoming")
db = open_database(f"sqlite:///{folder}/consilium.db")
scp = StorageScp(
    ScpSettings(port=0, low_water_bytes=0, flush=Flush.JOURNAL, network_timeout_s=idle_s,
        bounds=Bounds(associations=4), tls_port=0 if pem else None),
    tls=TlsContexts(Credentials(pem, pem, pem), server=True) if pem else None,
    blobs=blobs, db=db, issuers=IssuerTable({"": "urn:h"}), now=lambda: datetime.now(UTC),
    note=lambda one: (time.sleep(slow_s),
        say("noted", one.kind.name, one.outcome.name, sum(one.studies.values()), one.note)),
    observe=lambda seen: isinstance(seen, ReceiversSeen) and say("receivers", seen.ready, seen.died),
    ended=lambda end: say("ended", *sorted(end.studies), end.released))
with db.read() as conn:
    conn.exec_driver_sql("SELECT count(*) FROM instance").all()  # as who starts looks at it
receivers = scp.fork(2)
say("port", scp.start(receivers), *receivers.pids)
sys.stdin.read()
scp.stop()
say("stopped")
"""


class Node:
    """A node in a process of its own, with two that receive for it. said: its lines."""

    def __init__(self, folder: Path, idle_s: float, slow_s: float, pem: Path | None) -> None:
        database(folder).dispose()
        self.folder, self.said, self.peers, self.is_enough = folder, [], [], threading.Event()
        command = [sys.executable, "-c", CHILD, str(folder), str(idle_s), str(slow_s), str(pem or "")]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        first = next(line.split() for line in self.process.stdout if line.startswith("port "))
        self.port, *self.receivers = map(int, first[1:])
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.said.append(line.strip())

    @property
    def zygote(self):
        return processes_of(self.process.pid)[1]

    def receiving(self):
        """Those that receive now: forked by the zygote, and not replaced."""
        return set(filter(_is_alive, processes_of(self.process.pid)[2:]))

    def associate(self):
        peer = RawPeer(self.port, answer_within_s=20)
        self.peers.append(peer)
        peer.associate({1: (CR, (EXPLICIT,)), 3: ("1.2.840.10008.1.1", (EXPLICIT,))})
        return peer

    def sends(self, number, acknowledged):
        """Send one object after the other, each until it is answered, on association after association."""
        sent = 0
        while not self.is_enough.is_set():
            with suppress(OSError, ConnectionEnded), self.associate() as peer:
                while not self.is_enough.is_set():
                    assert store(peer, f"1.2.{number}.{sent}") == 0
                    acknowledged.append(f"1.2.{number}.{sent}")
                    sent += 1

    def rows(self):
        db = open_database(f"sqlite:///{self.folder}/consilium.db")
        with db.read() as conn:
            found = dict(conn.execute(select(instance.c.sop_instance_uid, instance.c.sha256)).all())
        db.dispose()
        return found

    def stop(self):
        self.process.stdin.close()
        self.process.wait(30)
        self._reader.join(30)
        return self.process.returncode


@contextmanager
def running(folder, idle_s=30.0, slow_s=0.0, pem=None):
    """slow_s: how long the audit takes to note what it is told. pem: of a node that listens for TLS as well."""
    one = Node(folder, idle_s, slow_s, pem)
    try:
        yield one
    finally:
        one.is_enough.set()
        for peer in one.peers:
            peer.socket.close()
        one.process.kill()
        one.process.wait(30)
        one._reader.join(30)  # it reads what is left until the last of them is dead
        one.process.stdin.close()
        one.process.stdout.close()


def soon(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def store(peer, uid, study="1.2.3", number=1):
    ds = cr_dataset(np.zeros((16, 16), np.uint16), SOPInstanceUID=uid, StudyInstanceUID=study)
    peer.send(message(1, store_command(CR, uid, number), encode(ds, False, True), 16_000))
    return peer.read_status()


def is_serving(pid, peer):
    """Tell whether the process holds the other end of a peer's connection."""
    mine = peer.socket.getsockname()[1]
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            inodes.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return any(line[9] in inodes and int(line[2].rpartition(":")[2], 16) == mine for line in lines)


def test_a_message_arrives_with_its_bytes_and_its_connection():
    here, there = channels()
    one, other = socket.socketpair()
    sending = threading.Thread(
        target=lambda: (here.send({"serve": 1}, b"x" * 300_000, one), here.send({"cut": 1}))
    )
    sending.start()  # more than the system keeps for who does not read
    got = there.receive()
    assert (got.message, got.data) == ({"serve": 1}, b"x" * 300_000)
    assert there.receive().connection is None
    sending.join()
    one.close()
    got.connection.sendall(b"through")
    assert other.recv(10) == b"through"
    here.close()
    with pytest.raises(ChannelClosed):
        there.receive()
    with pytest.raises(ChannelClosed):
        there.send({"brought": 1})
    for each in (there, got.connection, other):
        each.close()


def test_a_channel_that_is_cut_within_a_message_is_closed():
    one, other = socket.socketpair()
    one.sendall(b"\x10\0\0\0\0\0\0\0{")
    one.close()
    with pytest.raises(ChannelClosed):
        Channel(other).receive()
    other.close()


@pytest.mark.slow
def test_associations_are_spread_and_everything_of_them_is_stored_and_told(tmp_path):
    with running(tmp_path) as node:
        peers = [node.associate() for _ in range(4)]
        served = [[is_serving(pid, peer) for pid in node.receivers] for peer in peers]
        assert sorted(served) == [[False, True]] * 2 + [[True, False]] * 2
        for number in range(3):
            for which, peer in enumerate(peers):
                assert store(peer, f"1.2.{which}.{number}", f"1.9.{which % 2}") == 0
        for peer in peers[:3]:
            peer.release()
        soon(lambda: "ended 1.9.0 True" in node.said)
        assert "ended 1.9.1 True" not in node.said  # another process is still bringing it
        peers[3].release()
        soon(lambda: "ended 1.9.1 True" in node.said)
        soon(lambda: node.said.count("noted TRANSFERRED SUCCESS 3") == 4)
        assert node.said.count("noted ASSOCIATION SUCCESS 0 released") == 4
        assert len(node.rows()) == 12
        assert node.stop() == 0
        assert node.said[-1] == "stopped"
        assert list((tmp_path / "incoming").glob("*.journal")) == []
        blobs = open_blobs(f"file://{tmp_path}/blobs", tmp_path / "incoming")
        assert all(blobs.get(one) for one in node.rows().values())


@pytest.mark.slow
def test_limits_hold_over_all_processes_and_a_place_that_is_left_is_free(tmp_path):
    with running(tmp_path) as node:
        peers = [node.associate() for _ in range(4)]
        with pytest.raises(ConnectionRefusedError):
            node.associate()
        peers[0].release()

        def is_let_in():
            with suppress(ConnectionRefusedError):
                node.associate()
                return True
            return False

        soon(is_let_in)


@pytest.mark.slow
def test_at_a_stop_the_end_of_what_another_process_serves_is_noted_before_it_is_over(tmp_path):
    with running(tmp_path, slow_s=0.2) as node:
        assert store(node.associate(), "1.2.1") == 0
        assert node.stop() == 0
        assert "noted TRANSFERRED SUCCESS 1" in node.said
        assert node.said[-1] == "stopped"


@pytest.mark.slow
def test_a_receiver_that_is_killed_takes_only_its_own_associations_with_it_and_is_replaced(tmp_path):
    with running(tmp_path) as node:
        peers = [node.associate() for _ in range(2)]
        first = next(peer for peer in peers if is_serving(node.receivers[0], peer))
        other = next(peer for peer in peers if peer is not first)
        assert store(first, "1.2.1", "1.9.1") == store(other, "1.2.2", "1.9.2") == 0
        os.kill(node.receivers[0], signal.SIGKILL)
        with pytest.raises((ConnectionEnded, OSError)):
            store(first, "1.2.3", "1.9.1")
        soon(lambda: "ended 1.9.1 False" in node.said)
        soon(lambda: "noted TRANSFERRED SUCCESS 1" in node.said)  # that it brought the study is not forgotten
        assert store(other, "1.2.4", "1.9.2") == 0
        soon(lambda: "receivers 2" in node.said)
        assert "receivers 1 SIGKILL" in node.said
        (new,) = node.receiving() - set(node.receivers)
        last = node.associate()
        assert is_serving(new, last)
        assert store(last, "1.2.3", "1.9.1") == 0
        assert set(node.rows()) == {"1.2.1", "1.2.2", "1.2.3", "1.2.4"}
        last.release()
        assert node.stop() == 0
        assert not any(map(_is_alive, [new, *node.receivers]))
        assert list((tmp_path / "incoming").glob("*.journal")) == []


@pytest.mark.slow
@pytest.mark.parametrize("is_secured", [False, True])
def test_who_listens_for_secured_associations_has_a_journal_before_the_first_and_else_only_receivers_have(
    tmp_path, is_secured
):
    with running(tmp_path, pem=certificate(tmp_path) if is_secured else None) as node:
        soon(lambda: len(list((tmp_path / "incoming").glob("*.journal"))) == 2 + is_secured)
        owners = {pid for pid in [node.process.pid, *node.receivers] if has_a_journal(pid)}
        assert owners == {*node.receivers, *([node.process.pid] if is_secured else [])}


def has_a_journal(pid):
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # just closed
            if ".journal" in str(one.readlink()):
                return True
    return False


@pytest.mark.slow
def test_what_a_receiver_that_was_killed_has_answered_is_settled_while_the_node_runs(tmp_path):
    with running(tmp_path) as node:
        peers = [node.associate() for _ in range(2)]
        soon(lambda: len(list((tmp_path / "incoming").glob("*.journal"))) == 2)
        journals = list((tmp_path / "incoming").glob("*.journal"))
        for number, peer in enumerate(peers):
            assert store(peer, f"1.2.{number}") == 0
        for pid in node.receivers:
            os.kill(pid, signal.SIGKILL)
        blobs = open_blobs(f"file://{tmp_path}/blobs", tmp_path / "incoming")
        assert all(blobs.get(one) for one in node.rows().values())  # by whoever looks at once
        soon(lambda: len(list((tmp_path / "blobs").glob("*/*"))) == 2)
        soon(lambda: not any(path.exists() for path in journals))
        soon(lambda: "receivers 2" in node.said)
        assert node.receiving().isdisjoint(node.receivers)


def has_others(node, killed):
    return len(node.receiving() - set(killed)) == 2


def all_go_on(sent, least):
    return all(len(one) > least for one, least in zip(sent, least, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 2])
def test_under_kill_after_kill_nothing_that_was_answered_is_lost_and_others_receive(tmp_path, at_once):
    with running(tmp_path) as node:
        sent = [[] for _ in range(4)]
        senders = [
            threading.Thread(target=node.sends, args=(number, one), daemon=True) for number, one in enumerate(sent)
        ]
        for one in senders:
            one.start()
        for _ in range(3):
            killed = sorted(node.receiving())[:at_once]
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            soon(partial(has_others, node, killed))
            soon(partial(all_go_on, sent, [len(one) + 2 for one in sent]))
        node.is_enough.set()
        for one in senders:
            one.join()
        rows = node.rows()
        assert rows.keys() >= {uid for one in sent for uid in one}
        blobs = open_blobs(f"file://{tmp_path}/blobs", tmp_path / "incoming")
        assert all(blobs.get(one) for one in rows.values())
        assert node.stop() == 0
        assert sum(line.endswith("SIGKILL") for line in node.said) == 3 * at_once


@pytest.mark.slow
def test_where_nobody_forks_any_more_the_process_that_listens_receives_when_the_last_receiver_is_dead(tmp_path):
    with running(tmp_path) as node:
        os.kill(node.zygote, signal.SIGKILL)
        assert store(node.associate(), "1.2.1") == 0
        os.kill(node.receivers[0], signal.SIGKILL)
        soon(lambda: "receivers 1 unknown" in node.said)  # while the other one lives
        os.kill(node.receivers[1], signal.SIGKILL)
        soon(lambda: "receivers 0 unknown" in node.said)
        last = node.associate()
        assert is_serving(node.process.pid, last)
        assert store(last, "1.2.2") == 0
        assert set(node.rows()) == {"1.2.1", "1.2.2"}
        assert node.stop() == 0


@pytest.mark.slow
def test_receivers_do_not_outlive_the_process_that_listens_nor_does_who_forks_them(tmp_path):
    with running(tmp_path) as node:
        peer, zygote = node.associate(), node.zygote
        assert store(peer, "1.2.1") == 0
        os.kill(node.receivers[0], signal.SIGKILL)
        soon(lambda: "receivers 2" in node.said)
        all_of_them = [zygote, *node.receiving()]
        node.process.kill()
        soon(lambda: not any(map(_is_alive, all_of_them)))
        assert list(node.rows()) == ["1.2.1"]


@pytest.mark.slow
@pytest.mark.parametrize("end", [lambda node: node.process.kill(), lambda node: node.stop()], ids=["kill", "stop"])
def test_who_forks_them_is_not_missed_where_it_hangs_when_the_process_that_listens_ends(tmp_path, end):
    with running(tmp_path) as node:
        zygote = node.zygote
        os.kill(zygote, signal.SIGSTOP)
        try:
            end(node)
            soon(lambda: not any(map(_is_alive, node.receivers)))
        finally:
            with suppress(ProcessLookupError):
                os.kill(zygote, signal.SIGCONT)
        soon(lambda: not _is_alive(zygote))


@pytest.mark.slow
def test_a_receiver_that_hangs_keeps_no_other_one_from_seeing_the_listening_process_die(tmp_path):
    with running(tmp_path) as node:
        os.kill(node.receivers[1], signal.SIGSTOP)
        try:
            node.process.kill()
            soon(lambda: not _is_alive(node.receivers[0]))
        finally:
            os.kill(node.receivers[1], signal.SIGCONT)


@pytest.mark.slow
def test_every_receiver_has_the_locks_of_the_database_itself(tmp_path):
    with running(tmp_path) as node:
        assert [store(node.associate(), f"1.2.{number}") for number in range(2)] == [0, 0]
        index = (tmp_path / "consilium.db-shm").stat().st_ino
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        holders = {int(one[4]) for one in locks if int(one[5].rpartition(":")[2]) == index}
        assert holders >= set(node.receivers)


ENDS = """
import socket, sys, time
import structlog
from dicom_node.receivers import Handed, Receivers
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
def serve(channel):
    while "serve" in (message := channel.receive().message):
        if sys.argv[1] == "ended":
            channel.send({"ended": message["serve"], "how": "released", "taken": {}, "not_taken": 0})
    raise ValueError("told to stop")
receivers = Receivers(1, serve)
def ended(name):
    time.sleep(0.1)  # longer than the process takes to end
    print(name, flush=True)
    raise KeyError(name)
for name in ("first", "second"):
    handed = Handed("CT1", "", 0, [], b"", b"", print, lambda *_, name=name: ended(name))
    receivers.take(socket.socketpair()[0], handed)
receivers.stop(5)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ended", "aborted by the process's own end"])
def test_an_end_that_cannot_be_told_hides_no_other_and_a_receiver_s_failure_is_said(how):
    ran = subprocess.run([sys.executable, "-c", ENDS, how], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["first", "second"]
    said = ran.stderr
    assert said.count("an association was not told of") == 2
    assert "a receiving process failed" in said
    assert "ValueError" in said
    assert "told to stop" not in said  # another's words may quote the object


FORKS = """
import os, resource, select, signal, socket, sys, threading, time
import structlog
from dicom_node import receivers as module
from dicom_node.channel import ChannelClosed
from dicom_node.receivers import Handed, Receivers
from dicom_node.zygote import forked, serve_forks
is_refused = threading.Event()
class Logged:
    def write(self, text):
        sys.stderr.write(text)
        if "Too many open files" in text:
            is_refused.set()
    def flush(self):
        sys.stderr.flush()
structlog.configure(logger_factory=structlog.PrintLoggerFactory(Logged()))
def say(*words):
    print(" ".join(map(str, words)) + "\\n", end="", flush=True)  # in one piece: others may speak at once
def taken(receivers):
    one, other = socket.socketpair()
    is_taken = receivers.take(one, Handed("CT1", "", 0, [], b"", b"", say, lambda *_: None))
    other.close()
    return is_taken
"""


def forks(script):
    """Run a script; return what it and its processes say, and what they log."""
    ran = subprocess.run([sys.executable, "-c", FORKS + script], capture_output=True, text=True, check=True)
    return ran.stdout.splitlines(), ran.stderr


def test_the_first_death_is_no_reason_to_wait_and_more_in_a_row_are_longer_ones():
    assert [pause_s(deaths) for deaths in range(6)] == [0.0, 0.0, 0.25, 0.5, 1.0, 2.0]
    assert pause_s(100) == pause_s(11) == 60.0
    assert pause_s(10_000) == 60.0  # after a night in which the system refused every process


@pytest.mark.slow
def test_a_process_that_dies_again_and_again_is_started_ever_more_seldom(tmp_path):
    said, logged = forks("""
def serve(channel):
    say("started")
    os._exit(3)
deaths = []
def see(seen):
    say("seen", seen.ready, seen.died)
    deaths.extend([seen.died] if seen.died else [])
began = time.monotonic()
receivers = Receivers(1, serve, see)
while len(deaths) < 4 and time.monotonic() < began + 20:
    time.sleep(0.01)
say("paused", time.monotonic() - began > 0.25 + 0.5)
say("taken", taken(receivers))
receivers.stop(5)
""")
    # At once, then after 0.25 and 0.5 s; one more after another second.
    assert 4 <= said.count("started") <= 5
    assert said.count("seen 0 exit code 3") in {said.count("started"), said.count("started") - 1}
    assert {"paused True", "taken False"} <= set(said)
    assert "again_in_s=0.5" in logged


@pytest.mark.slow
def test_an_association_waits_for_a_process_that_starts_and_one_that_is_not_ready_gets_none():
    said, _ = forks("""
module.READY_WITHIN_S = 20.0  # on a busy machine as well
def serve(channel):
    os.read(let_in, 1)
    channel.send({"ready": True})
    while "stop" not in channel.receive().message:
        say("serves", os.getpid())
        os.write(tell, b"x")
let_in, gate = os.pipe()
told, tell = os.pipe()
os.write(gate, b"xx")
receivers = Receivers(2, serve)
first, second = receivers.pids
while select.select([let_in], [], [], 0)[0]:  # else who comes instead of the first is let in for it
    time.sleep(0.01)
os.kill(first, signal.SIGKILL)
while first in receivers.pids:
    time.sleep(0.01)
say("taken", taken(receivers), taken(receivers))
os.read(told, 1), os.read(told, 1)
os.kill(second, signal.SIGKILL)
while receivers.pids:
    time.sleep(0.01)
threading.Timer(0.2, os.write, (gate, b"x")).start()
say("taken", taken(receivers))
os.read(told, 1)
say("new", *receivers.pids)
os.write(gate, b"x")
receivers.stop(5)
say("old", second)
""")
    old, new = (next(line.split()[1] for line in said if line.startswith(name)) for name in ("old", "new"))
    assert [line.split()[1] for line in said if line.startswith("serves")] == [old, old, new]
    assert [line for line in said if line.startswith("taken")] == ["taken True True", "taken True"]


@pytest.mark.slow
@pytest.mark.parametrize("who", ["who forks", "who listens"])
def test_a_process_that_the_system_refuses_is_tried_again_and_who_forks_goes_on(who):
    said, logged = forks(f"""
def serve(channel):
    channel.send({{"ready": True}})
    while "stop" not in channel.receive().message:
        pass
receivers = Receivers(1, serve, lambda seen: say("seen", seen.ready, seen.died))
def forked_by(pid):
    return list(map(int, open(f"/proc/{{pid}}/task/{{pid}}/children").read().split()))
(zygote,) = forked_by(os.getpid())
full = zygote if {who == "who forks"} else 0
most, hard = resource.prlimit(full, resource.RLIMIT_NOFILE)
resource.prlimit(full, resource.RLIMIT_NOFILE, (3, hard))
os.kill(receivers.pids[0], signal.SIGKILL)
is_refused.wait(20)
resource.prlimit(full, resource.RLIMIT_NOFILE, (most, hard))
until = time.monotonic() + 20
while not receivers.pids and time.monotonic() < until:
    time.sleep(0.01)
say("forked", forked_by(zygote) == receivers.pids)
receivers.stop(5)
""")
    assert said == ["seen 1 ", "seen 0 SIGKILL", "seen 1 ", "forked True"]
    assert "Too many open files" in logged


@pytest.mark.slow
def test_how_a_process_has_ended_is_known_and_one_that_hangs_at_its_end_is_killed():
    said, _ = forks("""
def serve(channel):
    try:
        channel.receive()
    except ChannelClosed:
        channel.close_here()
        os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(7)
zygote = forked(serve)
(one, to_one), (other, to_other) = zygote.fork(), zygote.fork()
to_one.send({})
to_other.close()
say(zygote.how_ended(one))
say(zygote.how_ended(other))
zygote.stop()
say(zygote.how_ended(one))
""")
    assert said == ["exit code 7", "SIGKILL", "unknown"]


@pytest.mark.slow
def test_a_receiver_that_an_association_cannot_be_sent_to_is_replaced_and_its_others_are_told():
    said, _ = forks("""
def serve(channel):
    channel.send({"ready": True})
    while "stop" not in channel.receive().message:
        pass
deaths = threading.Event()
receivers = Receivers(1, serve, lambda seen: seen.died and deaths.set())
said = threading.Semaphore(0)
def ended(how, totals):
    say("ended", how)
    said.release()
gone, other = socket.socketpair()
receivers.take(gone, Handed("CT1", "", 0, [], b"", b"", say, ended))
gone.close()
again = Handed("CT1", "", 0, [], b"", b"", say, ended)
receivers.take(gone, again)  # it has no descriptor any more
say("told", said.acquire(timeout=20), "replaced", deaths.wait(20))
until = time.monotonic() + 20
while not receivers.pids and time.monotonic() < until:
    time.sleep(0.01)
say("taken", taken(receivers))
receivers.stop(5)
""")
    assert {"told True replaced True", "taken True"} <= set(said)


def test_where_there_is_no_descriptor_for_an_association_it_alone_ends(tmp_path):
    here, there = channels()
    who = {"calling_ae": "CT1", "address": "", "maximum_length": 0}
    here.send({"serve": 7, **who, "contexts": [], "accepted_bytes": 0})  # the system drops what finds no number
    here.send({"stop": True})
    Receiver(there, Store(None, str, tmp_path, Bounds()), 30.0).serve(0.0)
    assert here.receive().message == {"ready": True}
    assert here.receive().message == {"ended": 7, "how": "aborted", "taken": {}, "not_taken": 0}
    for each in (here, there):
        each.close()


def test_where_there_is_no_thread_for_an_association_it_alone_ends(monkeypatch, tmp_path):
    start = threading.Thread.start

    def none_left(thread):
        if thread.name == "association":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", none_left)
    here, there = channels()
    one, other = socket.socketpair()
    who = {"calling_ae": "CT1", "address": "", "maximum_length": 0}
    here.send({"serve": 7, **who, "contexts": [], "accepted_bytes": 0}, b"", one)
    here.send({"stop": True})
    Receiver(there, Store(None, str, tmp_path, Bounds()), 30.0).serve(0.0)
    assert here.receive().message == {"ready": True}
    assert here.receive().message == {"ended": 7, "how": "aborted", "taken": {}, "not_taken": 0}
    one.close()
    assert other.recv(1) == b""
    for each in (here, there, other):
        each.close()


def _is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # whoever inherits it has waited for it
        return False


@pytest.mark.slow
def test_a_silent_association_takes_no_thread_of_a_receiver_and_ends_when_its_time_is_over(tmp_path):
    def threads():
        return sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in node.receivers)

    with running(tmp_path, idle_s=6.0) as node:
        at_rest = 2 * 3  # each: its first one, one for all silent associations, one for the journal
        soon(lambda: threads() == at_rest)
        peers = [node.associate() for _ in range(4)]
        soon(lambda: threads() == at_rest)
        assert store(peers[0], "1.2.1") == 0
        for peer in peers:
            with pytest.raises((ConnectionEnded, OSError)):
                peer.read_status()
        soon(lambda: node.said.count("noted ASSOCIATION MINOR 0 aborted") == 4)
