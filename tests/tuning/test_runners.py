"""The runners: every trial gets its record whatever happens to the process that computes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fake_engine
import pytest

from batchlimit.config import TrialConfig
from batchlimit.errors import InputError, TrialError
from batchlimit.records import HistoryPoint
from batchlimit.tuning import runners
from batchlimit.tuning.runners import default_jobs, usable_cores
from batchlimit.tuning.runners.inline import InlineRunner
from batchlimit.tuning.runners.local import LocalPool

FAKE = "fake_engine:work"


def pool(jobs: int = 2) -> LocalPool:
    return LocalPool(jobs, function=FAKE)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_records_come_back_as_they_finish_and_equal_those_of_this_process() -> None:
    configs = [fake_engine.config(seed=seed, workload="slow-first") for seed in range(3)]
    with pool() as running:
        records = list(running.run(configs))
    assert sorted(records, key=lambda r: r.config.seed) == [fake_engine.record(config) for config in configs]
    assert records[0].config.seed != 0  # the slow one is not waited for


def test_workers_are_reused_single_threaded_processes() -> None:
    configs = [fake_engine.config(seed=seed, workload="where") for seed in range(8)]
    with pool() as running:
        records = [*running.run(configs[:4]), *running.run(configs[4:])]
        pids = {int(str(record.environment["pid"])) for record in records}
        assert len(pids) <= 2
        assert os.getpid() not in pids
        assert {record.environment["threads"] for record in records} == {"1"}
    assert not any(alive(pid) for pid in pids)


def test_workers_are_pinned_when_they_fill_the_machine() -> None:
    cores = len(os.sched_getaffinity(0))
    for jobs, expected in [(cores, 1), (cores + 1, cores)]:
        with pool(jobs) as running:
            (record,) = running.run([fake_engine.config(workload="where")])
        assert record.environment["cores"] == expected


def test_history_is_forwarded_when_asked_for() -> None:
    seen: list[tuple[TrialConfig, HistoryPoint, int]] = []
    config = fake_engine.config()
    with LocalPool(1, function=FAKE, on_point=lambda *point: seen.append(point)) as running:
        (record,) = running.run([config])
    assert seen == [(config, point, 3) for point in record.history]


def test_a_worker_that_always_dies_fails_its_trial_alone() -> None:
    configs = [fake_engine.config(seed=1), fake_engine.config(workload="die"), fake_engine.config(seed=2)]
    with pool() as running:
        records = {record.hash: record for record in running.run(configs)}
    assert records.keys() == {config.hash for config in configs}
    failed = records[configs[1].hash]
    assert failed.status == "failed"
    assert "SIGKILL, most often for lack of memory; it last printed: about to go (2 attempts)" in failed.reason
    assert records[configs[0].hash] == fake_engine.record(configs[0])
    assert records[configs[2].hash] == fake_engine.record(configs[2])


def test_a_trial_whose_worker_dies_once_is_tried_again(tmp_path: Path) -> None:
    config = fake_engine.config(workload=f"die-once@{tmp_path / 'died'}")
    with pool(1) as running:
        assert list(running.run([config])) == [fake_engine.record(config)]
    assert (tmp_path / "died").exists()


def test_a_trial_without_memory_fails() -> None:
    with pool(1) as running:
        (record,) = running.run([fake_engine.config(workload="no-memory")])
    assert (record.status, record.reason) == ("failed", "out of memory (2 attempts)")


def test_bad_input_in_a_worker_is_bad_input_here_and_the_pool_goes_on() -> None:
    with pool() as running:
        with pytest.raises(InputError, match=r"^there is no such thing$"):
            list(running.run([fake_engine.config(workload="bad-input")]))
        assert len(list(running.run([fake_engine.config(seed=seed) for seed in range(3)]))) == 3


def test_a_fault_in_user_code_is_raised_with_its_traceback() -> None:
    said = (
        r"^A trial of 'fault' with 'momentum' at batch size 32 raised "
        r"ZeroDivisionError: in .* model \(fake_engine.py, line \d+\)\."
    )
    with pool(1) as running, pytest.raises(TrialError, match=said) as caught:
        list(running.run([fake_engine.config(workload="fault")]))
    assert "\n" not in str(caught.value)
    assert "Traceback" in caught.value.__notes__[0]


def test_a_function_that_cannot_be_imported_is_raised() -> None:
    with LocalPool(1, function="no_such_module:run") as running, pytest.raises(TrialError, match="no_such_module"):
        list(running.run([fake_engine.config()]))


def test_leaving_early_ends_what_still_runs(tmp_path: Path) -> None:
    with pool() as running:
        records = running.run([fake_engine.config(seed=0), fake_engine.config(workload=f"sleep@{tmp_path}")])
        next(records)
        wait_for(lambda: any(tmp_path.iterdir()))
        pid = int(next(tmp_path.iterdir()).name.split("-")[1])
        records.close()  # type: ignore[attr-defined]
        assert not alive(pid)
        assert len(list(running.run([fake_engine.config(seed=1), fake_engine.config(seed=2)]))) == 2


def test_no_trials_start_no_workers() -> None:
    with pool() as running:
        assert list(running.run([])) == []
        assert running._workers == {}


def test_zero_jobs_is_bad_input() -> None:
    with pytest.raises(InputError, match="jobs is 0"):
        LocalPool(0)


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import fake_engine
from batchlimit.tuning.runners.local import LocalPool
with LocalPool(2, function="fake_engine:work") as pool:  # no __main__ guard: workers must not import this script
    list(pool.run([fake_engine.config(seed=s, workload="sleep@" + sys.argv[1]) for s in range(4)]))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(Path(__file__).parent)))
    deeds = tmp_path / "deeds"
    deeds.mkdir()
    parent = subprocess.Popen(
        [sys.executable, str(script), str(deeds)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(lambda: len(list(deeds.iterdir())) == 2)
    pids = [int(path.name.split("-")[1]) for path in deeds.iterdir()]
    if how == signal.SIGINT:
        os.killpg(parent.pid, how)  # as a terminal does: to the workers too
    else:
        parent.send_signal(how)
    _, printed = parent.communicate(timeout=10)
    assert parent.returncode == -how
    wait_for(lambda: not any(map(alive, pids)), seconds=5)
    assert printed.count("Traceback") == (1 if how == signal.SIGINT else 0)  # the script's own
    assert len(list(deeds.iterdir())) == 2


def test_inline_runs_in_order_and_passes_errors() -> None:
    configs = [fake_engine.config(seed=seed) for seed in (2, 0, 1)]
    with InlineRunner(fake_engine.record) as running:
        assert list(running.run(configs)) == [fake_engine.record(config) for config in configs]
    assert running.jobs == 1

    def fault(config: TrialConfig) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(InlineRunner(fault).run(configs))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8), ("", 8), (None, 8)],
)
def test_a_containers_quota_bounds_the_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str | None, expected: int
) -> None:
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(runners, "_CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(runners, "affinity", lambda: list(range(8)))
    assert usable_cores() == expected
    assert default_jobs("cpu") == expected
    assert default_jobs("cuda") == 1
