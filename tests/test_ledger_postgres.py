"""The ledger on a PostgreSQL server: needs psycopg and a scratch database, named in BATCHLIMIT_TEST_POSTGRES."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from batchlimit.config import TrialConfig
from batchlimit.errors import InputError
from batchlimit.ledger import Ledger
from batchlimit.records import TrialRecord

URL = os.environ.get("BATCHLIMIT_TEST_POSTGRES", "")
pytestmark = pytest.mark.skipif(not URL, reason="BATCHLIMIT_TEST_POSTGRES names no scratch PostgreSQL database")


def make(seed: int) -> TrialRecord:
    config = TrialConfig(workload="digits", batch_size=64, budget="2 epochs", seed=seed)
    return TrialRecord(config=config, status="complete", measurements={"long": list(range(3000))})


@pytest.fixture(autouse=True)
def scratch() -> None:
    from sqlalchemy import create_engine, text

    engine = create_engine(URL.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


def test_records_and_documents_survive_closing() -> None:
    with pytest.raises(InputError, match="holds no batchlimit ledger"):
        Ledger.open(URL, create=False)
    with Ledger.open(URL) as ledger:
        for seed in (2, 0, 1):
            ledger.add(make(seed))
        ledger.put_document("question", "digits", "?" * 5000)
        assert len(Ledger.open(URL, create=False)) == 3
    with Ledger.open(URL) as ledger:
        assert ledger.records() == [make(seed) for seed in (2, 0, 1)]
        assert ledger.document("question", "digits") == "?" * 5000


def test_one_driver_until_it_is_killed() -> None:
    code = (
        "import sys, time, batchlimit.ledger as l\nx = l.Ledger.open(sys.argv[1]); print(1, flush=True); time.sleep(9)"
    )
    with subprocess.Popen([sys.executable, "-c", code, URL], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "1\n"
        with pytest.raises(InputError, match=rf"in use by process {holder.pid} on \S+"):
            Ledger.open(URL)
        holder.kill()
    time.sleep(0.5)  # the server notices
    with Ledger.open(URL) as ledger:
        ledger.add(make(0))


def test_an_unreachable_server() -> None:
    with pytest.raises(InputError, match=r"Cannot open the ledger .*refused") as error:
        Ledger.open("postgresql://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
