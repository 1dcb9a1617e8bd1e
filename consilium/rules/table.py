"""The rules of a site and what they decide. Pure: without a file they decide nothing, and all goes everywhere.

Rules stand in order and the first that fits decides. They only narrow: a model still reads no image that it was
not made for, and a destination gets no kind that its settings keep from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from consilium.interlocks import Interlocks
from consilium.rules.clauses import Clauses, ImageFacts
from consilium.rules.completion import CompleteRule
from consilium.rules.priors import PriorRule
from consilium.rules.workitems import WorkitemRule

EVERY = "*"
BY_DEFAULT = "no rule fits, so every model made for it may read it"
NONE_BY_DEFAULT = "no rule fits, and images without a rule go to no model"


@dataclass(frozen=True, slots=True)
class ReadRule:
    """Images that fit `when`, and not `unless`, go to these models; "*" is every model, none is no model."""

    name: str
    models: tuple[str, ...]
    when: Clauses
    unless: Clauses | None = None

    def failing(self, facts: ImageFacts) -> str | None:
        """Return which clause keeps the rule from an image, or None when it fits."""
        problem = self.when.failing(facts)
        if problem is None and self.unless is not None and self.unless.failing(facts) is None:
            return f"unless {self.unless.in_words()}"
        return problem


@dataclass(frozen=True, slots=True)
class SendRule:
    """Results of these kinds, made by these models, go to these destinations. "*": all of them."""

    name: str
    kinds: tuple[str, ...]
    models: tuple[str, ...]
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """A site's rules.

    unmatched_reads: whether models may read an image that no rule fits. complete: when a study
    is, where quiet time alone does not say it. hold: what holds studies. prior: which earlier studies are fetched.
    workitem: which steps of worklists elsewhere are performed here.
    shadow: models (NAME@VERSION) that read what arrives and whose findings nobody is shown.
    """

    read: tuple[ReadRule, ...] = ()
    send: tuple[SendRule, ...] = ()
    unmatched_reads: bool = True
    complete: tuple[CompleteRule, ...] = ()
    hold: Interlocks = field(default_factory=Interlocks)
    prior: tuple[PriorRule, ...] = ()
    workitem: tuple[WorkitemRule, ...] = ()
    shadow: tuple[str, ...] = ()


NO_RULES = Rules()


@dataclass(frozen=True, slots=True)
class ReadDecision:
    """reads: whether the rules let a model read an image. why: the rule and clause that decided, in words.

    tried: each rule before that, with the clause that did not fit.
    """

    reads: bool
    why: str
    tried: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SendDecision:
    """to: where a result goes. why: the rule that decided, in words."""

    to: tuple[str, ...]
    why: str


def read_decision(rules: Rules, facts: ImageFacts, model: str) -> ReadDecision:
    """Decide whether a model may read an image."""
    tried: list[str] = []
    for rule in rules.read:
        problem = rule.failing(facts)
        if problem is not None:
            tried.append(f"rule {rule.name!r}: {problem}")
            continue
        reads = EVERY in rule.models or model in rule.models
        said = "sends it to this model" if reads else "does not send it to this model"
        return ReadDecision(reads, f"rule {rule.name!r} {said} ({rule.when.in_words()})", tuple(tried))
    return ReadDecision(
        rules.unmatched_reads, BY_DEFAULT if rules.unmatched_reads else NONE_BY_DEFAULT, tuple(tried)
    )


def send_decision(rules: Rules, kind: str, model: str, destinations: Sequence[str]) -> SendDecision:
    """Decide where a result goes. destinations: all that are configured, in order."""
    for rule in rules.send:
        if _names(rule.kinds, kind) and _names(rule.models, model):
            everywhere = EVERY in rule.to
            to = tuple(name for name in destinations if everywhere or name in rule.to)
            return SendDecision(to, f"rule {rule.name!r} sends {kind} to {', '.join(to) or 'nobody'}")
    return SendDecision(tuple(destinations), "no rule fits, so it goes to every destination")


def _names(wanted: Sequence[str], name: str) -> bool:
    return EVERY in wanted or name in wanted
