"""The verdict in words and as JSON."""

from __future__ import annotations

import json
import math

import pytest
from sample_finding import N, digits_finding, loss_finding, problem_finding

from batchlimit.findings import Boundary, Estimate, LimitFinding
from batchlimit.reports import quantities
from batchlimit.reports.verdict import all_sizes, as_json, boundary_text, sentence, strict, summary_lines


def test_the_verdict_is_one_plain_sentence() -> None:
    assert sentence(digits_finding()) == (
        "On digits, linear LR scaling holds up to a batch of 64 (undecided at 128); the best recipe found (lamb) "
        "still reaches the target at 512; at full batch (1,000) the best is 96.4 % against a target of 98.1 %."
    )
    assert sentence(loss_finding()) == (
        "On examples/regression.py:diabetes, linear LR scaling holds up to a batch of 32; the best recipe found "
        "(adamw) still reaches the target at the full batch (442)."
    )


def test_a_problem_is_said_instead_of_a_verdict() -> None:
    text = sentence(problem_finding())
    assert text.startswith("No verdict for digits: every baseline trial diverged")
    assert not any("monotone" in line or "holds" in line for line in summary_lines(problem_finding()))


@pytest.mark.parametrize(
    ("small", "large", "expected"),
    [
        (Boundary(value=N), Boundary(value=N), "holds up to the full batch (1,000); no other recipe was needed."),
        (
            Boundary(value=64, next_fail=128),
            Boundary(value=64, next_fail=128),
            "known to reach the target beyond that;",
        ),
        (Boundary(value=16, next_fail=32), Boundary(value=512), "to hold at no batch size above the baseline's (16);"),
        (Boundary(), Boundary(), "linear LR scaling holds at no batch size that was tried; no recipe in the budget"),
        (Boundary(undecided=(32, 64)), Boundary(value=512), "undecided whether linear LR scaling holds at 32 and 64;"),
        (Boundary(value=64), Boundary(value=128, undecided=(256, 512)), "at 128 (undecided at 256 and 512);"),
        (Boundary(), Boundary(undecided=(64,)), "it is undecided whether any recipe reaches the target at 64;"),
    ],
)
def test_every_outcome_has_its_words(small: Boundary, large: Boundary, expected: str) -> None:
    assert expected in sentence(digits_finding(small_up_to=small, large_up_to=large))


def test_a_value_is_never_rounded_onto_the_bar_it_misses() -> None:
    assert quantities.compared(0.98116, 0.98119, percent=True) == ("98.116 %", "98.119 %")
    assert quantities.compared(0.96, 0.981, percent=True) == ("96.0 %", "98.1 %")


def test_where_a_boundary_lies_and_what_is_undecided() -> None:
    assert boundary_text(Boundary(value=64, next_fail=256, undecided=(128,)), end=N) == (
        "64 holds, 256 does not; undecided: 128"
    )
    assert boundary_text(Boundary(value=N), end=N) == "holds up to the full batch"
    assert boundary_text(Boundary(next_fail=32), end=N) == "no size tried holds, 32 fails"
    assert boundary_text(Boundary(value=64), end=N) == "64 holds, no larger size is known to fail"


def test_the_summary_states_what_the_verdict_rests_on() -> None:
    text = "\n".join(summary_lines(digits_finding()))
    for part in (
        "n = 5",
        "5 to 20 seeds",
        "'modern'",
        "lars; lamb",
        "8 trials",
        "monotone",
        "164 trials",
        "3.28 million",
    ):
        assert part in text
    assert "monotone" not in "\n".join(summary_lines(loss_finding()))
    assert "no validation split" in "\n".join(summary_lines(digits_finding(no_validation=True)))
    assert "Decided by 95 % confidence intervals" in text
    sure = digits_finding(confidence=0.99, search="exhaustive")
    assert sure.baseline is not None
    lossy = sure.model_copy(update={"baseline": sure.baseline.model_copy(update={"diverged": 3})})
    assert "99 % confidence intervals" in (other := "\n".join(summary_lines(lossy)))
    assert "3 did not complete" in other
    assert "tuned with a whole grid" in other
    assert "test split" in "\n".join(summary_lines(digits_finding(protocol="paper")))


def test_one_epoch_is_no_epochs() -> None:
    assert [quantities.length(said) for said in ("1 epochs", "1 steps", "1.5 epochs", "11 epochs", "100%")] == [
        "1 epoch",
        "1 step",
        "1.5 epochs",
        "11 epochs",
        "100%",
    ]
    finding = digits_finding(training_budget="1 epochs")
    assert "for 1 epoch, accuracy" in "\n".join(summary_lines(finding))
    assert as_json(finding, None)["training_budget"] == "1 epochs"


def _strictly(value: object) -> object:
    return json.loads(json.dumps(value, allow_nan=False))


@pytest.mark.parametrize("finding", [digits_finding(), loss_finding(), problem_finding()], ids=["d", "l", "p"])
def test_json_is_strict_and_has_the_promised_keys(finding: LimitFinding) -> None:
    content = _strictly(as_json(finding, "out/report.html"))
    assert isinstance(content, dict)
    assert {"workload", "baseline", "small_up_to", "large_up_to", "full", "by_batch_size", "cost", "report"} <= set(
        content
    )
    assert content["small_up_to"] is None or isinstance(content["small_up_to"], int)
    assert isinstance(content["baseline"], dict)
    assert isinstance(content["by_batch_size"], list)
    assert content["report"] == "out/report.html"
    if finding.problem:
        assert (content["small_up_to"], content["large_up_to"]) == (None, None)


def test_json_gives_the_interval_beside_the_plain_number() -> None:
    content = as_json(digits_finding(), None)
    assert (content["small_up_to"], content["large_up_to"]) == (64, 512)
    assert content["small_up_to_interval"] == [64, 256]
    assert content["undecided"] == {"small": [128], "large": []}
    assert content["report"] is None
    assert [size["batch_size"] for size in content["by_batch_size"]] == [32, 64, 128, 256, 512, 1000]


def test_no_nan_gets_into_the_json() -> None:
    finding = digits_finding()
    assert finding.baseline is not None
    broken = finding.baseline.model_copy(update={"metric": Estimate.model_construct(mean=math.nan, low=-math.inf, n=3)})
    content = as_json(finding.model_copy(update={"baseline": broken}), None)
    assert _strictly(content)
    assert content["baseline"]["metric"]["mean"] is None
    assert strict({"a": [math.inf, {"b": (1.5, math.nan)}]}) == {"a": [None, {"b": [1.5, None]}]}


def test_the_full_batch_is_listed_once() -> None:
    finding = digits_finding()
    assert len(all_sizes(finding)) == 6
    assert [size.batch_size for size in all_sizes(digits_finding(by_batch_size=()))] == [N]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.42, "0.4 s"), (42, "42 s"), (231, "3.9 min"), (7200, "2.0 h"), (260_000, "3.0 days")]
)
def test_spans_have_a_unit_that_suits(seconds: float, text: str) -> None:
    assert quantities.span(seconds) == text


def test_percent_is_the_workloads_word_first() -> None:
    assert quantities.is_percent(digits_finding(metric_percent=None))
    assert not quantities.is_percent(digits_finding(metric_percent=None, metric_name="perplexity"))
    assert not quantities.is_percent(digits_finding(metric_percent=False))
    assert quantities.metric_text(0.981, percent=True) == "98.1 %"
    assert quantities.metric_text(None, percent=True) == quantities.metric_text(math.nan, percent=False) == "–"
