"""What a trial leaves behind survives JSON, with nothing non-finite in it."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from batchlimit.config import TrialConfig
from batchlimit.records import HistoryPoint, Scores, TrialRecord

floats = st.floats()
scores = st.builds(Scores, loss=floats | st.none(), metric=floats | st.none())
points = st.builds(
    HistoryPoint,
    step=st.integers(0, 10**6),
    epoch=st.floats(0, 1e4),
    lr=floats | st.none(),
    train_loss=floats | st.none(),
    selection=scores | st.none(),
    test=scores | st.none(),
)
records = st.builds(
    TrialRecord,
    config=st.builds(TrialConfig, workload=st.text(min_size=1), batch_size=st.integers(1, 10**6), budget=st.just(3)),
    status=st.sampled_from(["complete", "diverged", "pruned", "failed"]),
    reason=st.text(),
    steps=st.integers(0, 10**9),
    samples=st.integers(0, 10**12),
    seconds=st.floats(0, 1e9),
    history=st.lists(points, max_size=3).map(tuple),
    selection=scores | st.none(),
    test=scores | st.none(),
    environment=st.dictionaries(st.text(), st.text() | st.integers(0, 100) | st.none(), max_size=3),
)


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@given(records)
def test_json_round_trip_keeps_everything_and_is_strict_json(record):
    text = record.model_dump_json()
    json.loads(text, parse_constant=refuse)
    assert TrialRecord.model_validate_json(text) == record


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_scores_become_none(value):
    assert Scores(loss=value, metric=value) == Scores(loss=None, metric=None)
    point = HistoryPoint(step=1, epoch=1, lr=value, train_loss=value)
    assert point.lr is None
    assert point.train_loss is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_finite_scores_are_kept_to_the_bit(value):
    kept = Scores.model_validate_json(Scores(loss=value).model_dump_json())
    assert kept.loss == value


def test_a_record_is_known_by_its_config():
    config = TrialConfig(workload="digits", batch_size=8, budget=1)
    assert TrialRecord(config=config, status="failed", reason="killed").hash == config.hash


def test_unknown_fields_and_statuses_are_refused():
    config = TrialConfig(workload="digits", batch_size=8, budget=1)
    with pytest.raises(ValidationError):
        TrialRecord(config=config, status="running")
    with pytest.raises(ValidationError):
        TrialRecord(config=config, status="complete", accuracy=0.9)
    with pytest.raises(ValidationError, match="frozen"):
        TrialRecord(config=config, status="complete").status = "failed"
