"""How long a call may take: the narrower name wins, and a budget that makes no sense is refused."""

import pytest

from cds.budget import Budgets
from clinical.errors import IncorrectInput


def test_the_narrower_name_wins():
    budgets = Budgets(500, {"order-sign": 2000, "order-sign/diabetes-risk": 800})
    assert budgets.seconds("patient-view", "diabetes-risk") == 0.5
    assert budgets.seconds("order-sign", "imaging-findings") == 2.0
    assert budgets.seconds("order-sign", "diabetes-risk") == 0.8


def test_five_hundred_milliseconds_is_the_default():
    assert Budgets().seconds("patient-view", "any") == 0.5


@pytest.mark.parametrize(
    ("default_ms", "by_name"),
    [(49, {}), (60_001, {}), (500, {"order-sign": 0}), (500, {"Zz canary": 500}), (500, {"order-sign/": 500})],
)
def test_a_budget_that_makes_no_sense_is_refused_without_repeating_its_name(default_ms, by_name):
    with pytest.raises(IncorrectInput) as refused:
        Budgets(default_ms, by_name)
    assert "canary" not in refused.value.message


def test_a_budget_for_something_that_is_not_served_is_refused():
    served = [("order-sign", "diabetes-risk")]
    Budgets(500, {"order-sign": 2000, "order-sign/diabetes-risk": 800}).check(served)
    for name in ("patient-view", "order-sign/diabetes-rsik", "patient-view/diabetes-risk"):
        with pytest.raises(IncorrectInput):
            Budgets(500, {name: 800}).check(served)
