"""What only a process of its own shows: start-up, signals, pipes and terminals."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batchlimit.ledger import Ledger
from batchlimit.records import TrialRecord

TOYS = Path(__file__).parent / "toys.py"
COMMAND = (sys.executable, "-m", "batchlimit")
SEARCH = ("find", "toys.py:slow", "--seeds", "2", "--budget", "1", "max_seeds=2", "batch_sizes=[50]")
RECIPES = ("recipes=['tuned momentum']", "--epochs", "2")
LEDGER = Path("batchlimit-toys-slow") / "ledger.db"
LIMIT = 120.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(TOYS, tmp_path)
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "BATCHLIMIT_DEBUG")
    }
    return {**kept, "OMP_NUM_THREADS": "1", "TERM": "xterm-256color", **more}


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_records(search: subprocess.Popen[str], ledger: Path, count: int) -> None:
    """Wait until the ledger of a running search holds `count` records."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        assert search.poll() is None, search.communicate()
        if ledger.is_file():
            try:
                with Ledger.open(ledger, create=False) as kept:
                    if len(kept) >= count:
                        return
            except ValueError:
                pass  # it is just being made
        time.sleep(0.1)
    raise AssertionError(f"no {count} records within {LIMIT:g} s")


@pytest.mark.parametrize("arguments", [("--help",), ("find", "--help"), ("--version",), ("report", "--help")])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    code = (
        "import sys; from batchlimit.cli.app import app; from typer.main import get_command\n"
        f"get_command(app).main({list(arguments)!r}, standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'scipy', 'optuna', 'altair', 'sqlalchemy', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr


def stopped(folder: Path, number: signal.Signals, *, jobs: int) -> tuple[int, str, str]:
    """Start a search, send it a signal after its first records, and return its exit code and what it wrote."""
    search = started(folder, *SEARCH, *RECIPES, "--jobs", str(jobs))
    wait_for_records(search, folder / LEDGER, 2)
    if number == signal.SIGINT:
        # As a terminal does on Ctrl-C: to the whole process group, workers included.
        os.killpg(search.pid, number)
    else:
        search.send_signal(number)
    printed, said = search.communicate(timeout=LIMIT)
    return search.returncode, printed, said


def kept_records(folder: Path) -> dict[str, TrialRecord]:
    with Ledger.open(folder / LEDGER, create=False) as kept:
        return {record.hash: record for record in kept.records()}


def test_ctrl_c_before_the_command_line_is_there_is_one_line(folder: Path) -> None:
    program = """
import runpy, sys
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "batchlimit.cli":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
runpy.run_module("batchlimit", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "batchlimit: interrupted\n")


def test_an_interrupted_search_goes_on_by_the_same_command(folder: Path) -> None:
    code, printed, said = stopped(folder, signal.SIGINT, jobs=2)
    assert (code, printed) == (130, ""), said
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    assert last.startswith("batchlimit: interrupted")
    assert "the same command goes on" in last
    before = kept_records(folder)
    assert len(before) >= 2

    again = started(folder, *SEARCH, *RECIPES, "--jobs", "1", "--json")
    printed, said = again.communicate(timeout=LIMIT)
    assert again.returncode == 0, said
    assert json.loads(printed)["cost"]["trials"] > len(before)
    assert "from the ledger" in said
    assert before.items() <= kept_records(folder).items(), "what was finished was not run again"


def test_sigterm_ends_with_its_code_and_a_whole_ledger(folder: Path) -> None:
    code, printed, said = stopped(folder, signal.SIGTERM, jobs=1)
    assert (code, printed) == (143, ""), said
    assert said.splitlines()[-1].startswith("batchlimit: stopped by SIGTERM. Finished trials are in ")
    assert len(kept_records(folder)) >= 2


def test_a_trial_that_was_stopped_goes_on_where_it_was(folder: Path) -> None:
    command = ("train", "toys.py:slow", "--epochs", "30", "--ledger", "kept.db", "checkpoint_seconds=0")
    trial = started(folder, *command)
    end = time.monotonic() + LIMIT
    while not list(folder.glob("kept.db.checkpoints/*.pt")) and time.monotonic() < end:
        assert trial.poll() is None, trial.communicate()
        time.sleep(0.01)
    trial.send_signal(signal.SIGTERM)
    _, said = trial.communicate(timeout=LIMIT)
    assert (trial.returncode, said.splitlines()[-1]) == (
        143,
        "batchlimit: stopped by SIGTERM. The same command goes on where this trial was last saved, or starts it again "
        "if it never was",
    )
    again = started(folder, *command)
    printed, said = again.communicate(timeout=LIMIT)
    assert again.returncode == 0, said
    with Ledger.open(folder / "kept.db", create=False) as kept:
        (record,) = kept.records()
    assert int(record.environment["resumed_at"] or 0) > 0
    assert f"taken up at step {record.environment['resumed_at']}" in printed
    assert not (folder / "kept.db.checkpoints").exists()


def test_a_pipe_gets_plain_lines_and_json_alone(folder: Path) -> None:
    search = started(folder, "tune", "toys.py:separable", "space.lr=[0.1]", "--jobs", "1", "--seeds", "2", "--json")
    printed, said = search.communicate(timeout=LIMIT)
    assert search.returncode == 0, said
    assert json.loads(printed)["best"]["metric"]["n"] == 2
    assert "\x1b" not in printed + said
    assert "\r" not in said
    assert len(said.splitlines()) == 2, "one line a finished stage"


@pytest.mark.parametrize(("command", "first"), [("list", "workloads"), ("find --help", "")])
def test_a_reader_that_leaves_early_is_no_error(folder: Path, command: str, first: str) -> None:
    script = f"{sys.executable} -m batchlimit {command} | head -n 1; echo codes ${{PIPESTATUS[@]}}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.stdout.splitlines()[0].strip() == first
    assert done.stdout.splitlines()[-1] == "codes 0 0"
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize("arguments", [("--version",), ("list", "schedules"), ("list", "schedules", "--json")])
def test_a_full_disk_is_said_and_is_no_bug(folder: Path, arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=folder,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("batchlimit: cannot write all of the output: No space left on device.")


def on_terminal(folder: Path, *arguments: str, interrupt_at: str | None = None) -> tuple[int, str]:
    """Run a command on a terminal of 80 columns; return its exit code and everything it wrote."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvpe(COMMAND[0], [*COMMAND, *arguments], environment(COLUMNS="80", LINES="30"))
    written = b""
    sent = False
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        ready, _, _ = select.select([terminal], [], [], 1.0)
        if not ready:
            continue
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break
        if not piece:
            break
        written += piece
        if interrupt_at is not None and not sent and re.search(interrupt_at.encode(), written):
            os.write(terminal, b"\x03")
            sent = True
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), written.decode(errors="replace")


def test_a_terminal_shows_a_live_table_and_gets_its_cursor_back(folder: Path) -> None:
    code, written = on_terminal(folder, *SEARCH, *RECIPES, "--jobs", "1", interrupt_at="linear scaling at batch size")
    assert code == 130
    assert "batch size" in written
    assert "baseline at batch size 10" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l"), "the cursor is shown again"
    assert "the same command goes on" in " ".join(written.split())
    assert "Traceback" not in written


def test_training_on_a_terminal_shows_one_live_line(folder: Path) -> None:
    code, written = on_terminal(folder, "train", "toys.py:separable", "--epochs", "30")
    assert code == 0
    assert "B = 10" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
    assert "validation" in written


def test_report_needs_no_torch(folder: Path) -> None:
    search = started(folder, "find", "toys.py:separable", "--quiet", "--jobs", "1", *SEARCH[2:], *RECIPES)
    _, said = search.communicate(timeout=LIMIT)
    assert search.returncode == 0, said
    code = (
        "import sys\n"
        "from batchlimit.cli.app import app; from typer.main import get_command\n"
        "code = get_command(app).main(['report'], standalone_mode=False)\n"
        "sys.exit('loaded torch' if 'torch' in sys.modules else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Report: batchlimit-toys-separable/report.html"
