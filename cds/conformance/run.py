"""Running the checks, and what became of each row of the checklist."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from cds.client.fhir_mock import fhir_mock
from cds.client.record import Record
from cds.client.remote import Remote
from cds.conformance.bench import Bench, Options
from cds.conformance.checks import CHECKS
from cds.conformance.model import Check, Failed, Level, NotPassed, Result, Skipped, Verdict
from cds.markdown import plain
from clinical.errors import Busy, ClinicalError


@contextmanager
def bench(remote: Remote, record: Record, options: Options, fhir_port: int = 0) -> Iterator[Bench]:
    """Give a bench with its two FHIR servers running. fhir_port: of the one that the target may call."""
    with fhir_mock(record, fhir_port) as ours, fhir_mock(record) as elsewhere:
        yield Bench(remote, record, ours, elsewhere, options)


def run(
    on: Bench, checks: Sequence[Check] = CHECKS, progress: Callable[[Check], None] = lambda _check: None
) -> list[Result]:
    """Return the result of every check. progress: told of each before it begins."""
    results = []
    for check in checks:
        progress(check)
        results.append(_result(check, on))
    return results


def _result(check: Check, on: Bench) -> Result:
    began = time.perf_counter()
    on.fhir.forget()
    verdict, reason = _outcome(check, on)
    return Result(check, verdict, reason, (time.perf_counter() - began) * 1000)


def _outcome(check: Check, on: Bench) -> tuple[Verdict, str]:
    try:
        check.run(on)
    except NotPassed as ended:
        return ended.verdict, plain(str(ended))  # it may name an id of the server's
    except Busy as problem:
        return Failed.verdict, problem.message
    except ClinicalError as problem:
        return Skipped.verdict, problem.message
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as problem:
        # An answer of a shape that no check foresaw is the server's failure, and must not end the run.
        return Failed.verdict, f"the answer has an unforeseen shape ({type(problem).__name__})"
    return Verdict.PASS, ""


def rows(results: Sequence[Result]) -> dict[str, Verdict]:
    """Return row -> verdict: fail when one check of it fails, pass when one passes, else what most of it is."""
    found: dict[str, Verdict] = {}
    for result in results:
        verdicts = {one.verdict for one in results if one.check.row == result.check.row}
        order = (Verdict.FAIL, Verdict.PASS, Verdict.SKIPPED, Verdict.NOT_APPLICABLE)
        found[result.check.row] = next(verdict for verdict in order if verdict in verdicts)
    return found


def counts(results: Sequence[Result]) -> Mapping[Level, Counter[Verdict]]:
    """Return, by level, how many checks ended how."""
    return {level: Counter(one.verdict for one in results if one.check.level is level) for level in Level}


def passes(results: Sequence[Result]) -> bool:
    """Tell whether nothing that is a SHALL has failed, and something has passed at all."""
    musts = counts(results)[Level.MUST]
    return not musts[Verdict.FAIL] and bool(musts[Verdict.PASS])
