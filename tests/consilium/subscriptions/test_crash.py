"""A worker that dies at any of its writes loses nothing, and tells each resource's versions in their order."""

from contextlib import contextmanager
from itertools import count, groupby

from fhir_adapters.subscriptions import topic
from tests.consilium.subscriptions.rig import LOINC, subscription
from tests.consilium.subscriptions.test_topic import of_topic, parts, report, write


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class Dying:
    """A database whose user is killed at its nth write, just before or just after the commit."""

    def __init__(self, db, at, *, committed):
        self.db, self.dialect, self.left, self.committed, self.dead = db, db.dialect, at, committed, False

    @contextmanager
    def read(self):
        self._alive()
        with self.db.read() as conn:
            yield conn

    @contextmanager
    def write(self, **options):
        self._alive()
        self.left -= 1
        with self.db.write(**options) as conn:
            yield conn
            if self.left == 0 and not self.committed:
                self._die()
        if self.left == 0:
            self._die()

    def _die(self):
        self.dead = True
        raise Killed

    def _alive(self):
        if self.dead:
            raise Killed


def dies(rig, at, *, committed):
    """Return whether the worker came to its nth write, and died."""
    rig.work_on(Dying(rig.db, at, committed=committed))
    try:
        rig.run()
        rig.run()
    except Killed:
        return True
    finally:
        rig.work_on(rig.db)
    return False


def at_every_write(rig, act, check):
    """Do something new, let the worker die at its nth write, start it again and look; for each n there is."""
    for committed in (False, True):
        for at in count(1):
            name = f"{'after' if committed else 'before'}-{at}"
            act(name)
            died = dies(rig, at, committed=committed)
            rig.later(1)
            rig.run()
            rig.run()
            check(name)
            if not died:
                assert at > 4
                break


def test_each_version_arrives_at_least_once_and_in_order(both):
    def act(name):
        endpoint = {"endpoint": f"{both.receiver.url}/{name}"}
        both.send("PUT", f"Subscription/{name}", subscription_of(both, name, endpoint))
        for value in "12":
            both.observe(f"o-{name}", code=name, valueString=value)
        both.send("DELETE", f"Observation/o-{name}")

    def check(name):
        arrived = [one for one in both.receiver.arrived if one.path.startswith(f"/{name}/")]
        values = [one.resource["valueString"] if one.body else "gone" for one in arrived]
        assert [value for value, _ in groupby(values)] == ["1", "2", "gone"]
        assert both.read(name)["status"] == "active"

    at_every_write(both, act, check)


def test_a_topics_events_arrive_at_least_once_with_the_same_numbers(rig):
    def act(name):
        changes = of_topic(filters=[f"DiagnosticReport?patient=Patient/{name}"])
        changes["channel"]["endpoint"] = f"{rig.receiver.url}/{name}"
        rig.send("PUT", f"Subscription/{name}", subscription_of(rig, name, changes.pop("channel"), **changes))
        for number in range(3):
            write(rig, report(f"r{number}-{name}", patient=name))

    def check(name):
        events = [
            (event["event-number"], event["focus"]["reference"].rpartition("/")[2])
            for one in rig.receiver.arrived
            if one.path == f"/{name}"
            for event in parts(one.resource)[1]
        ]
        assert sorted(set(events)) == [(str(number + 1), f"r{number}-{name}") for number in range(3)]
        assert rig.read(name)["status"] == "active"

    at_every_write(rig, act, check)


def test_an_endpoint_in_error_is_in_error_after_a_death_and_nothing_is_lost(rig):
    def act(name):
        rig.receiver.behave = lambda _message: 500
        changes = {"endpoint": f"{rig.receiver.url}/{name}"}
        rig.send("PUT", f"Subscription/{name}", subscription_of(rig, name, changes))
        rig.run()
        rig.observe(f"o-{name}", code=name)
        for _ in range(2):
            rig.run()
            rig.later(60)

    def check(name):
        assert rig.read(name)["status"] == "error"
        rig.receiver.behave = lambda _message: 200
        rig.send(
            "PUT", f"Subscription/{name}", subscription_of(rig, name, {"endpoint": f"{rig.receiver.url}/{name}"})
        )
        before = len(rig.told)
        rig.run()
        assert rig.told[before:] == [("PUT", f"/{name}/Observation/o-{name}")]

    at_every_write(rig, act, check)


def subscription_of(rig, name, channel, **changes):
    criteria = changes.pop("criteria", f"Observation?code={LOINC}|{name}")
    assert criteria.startswith("Observation") or criteria == topic.CANONICAL
    return subscription(rig.receiver.url, name, criteria, channel=channel, **changes)
