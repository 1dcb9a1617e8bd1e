"""What an operator sees of subscriptions, and that trying again loses nothing."""

import pytest

from clinical.errors import NotFound
from consilium.settings import load_settings
from consilium.subscription_desk import list_subscriptions, retry_subscription, show_subscription


@pytest.fixture
def settings(no_settings, tmp_path):
    return load_settings(data_dir=tmp_path)


def test_what_is_not_delivered_is_shown_with_the_reason_and_sent_when_it_is_tried_again(rig, settings):
    rig.receiver.behave = lambda _message: 500
    rig.subscribe(channel={"header": ["Authorization: Bearer s3cret"]})
    rig.observe()
    for _ in range(3):
        rig.run()
        rig.later(60)
    (row,) = list_subscriptions(settings)
    assert (row["status"], row["waiting"], row["sent"]) == ("error", 1, 0)
    assert row["why"] == "the endpoint answered 500"
    (event,) = show_subscription(settings, "s1")
    assert (event["resource"], event["attempts"], event["HTTP"]) == ("Observation/o1", 3, 500)
    assert "s3cret" not in f"{row}{event}"
    rig.receiver.behave = lambda _message: 200
    assert retry_subscription(settings, "s1") == 1
    rig.later(60 * 24 * 365)  # the desk's clock is the real one
    rig.run()
    assert rig.read()["status"] == "active"
    assert [(one["sent"], one["waiting"]) for one in list_subscriptions(settings)] == [(1, 0)]


def test_a_subscription_that_is_not_there_is_told_so(rig, settings):
    for act in (show_subscription, retry_subscription):
        with pytest.raises(NotFound):
            act(settings, "nobody")
