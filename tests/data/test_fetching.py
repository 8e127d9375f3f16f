"""Fetching from mirrors on this machine: the first that serves the right file wins, a wrong file is never kept."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from batchlimit.data.fetching import fetch_files
from batchlimit.errors import InputError

CONTENT = b"the right content"
FILES = {"a.gz": hashlib.sha256(CONTENT).hexdigest()}
DEAD = "http://127.0.0.1:9/dead"


class Quiet(SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def log_message(self, format: str, *args: object) -> None:
        if str(args[0]).startswith("GET"):
            self.asked.append(self.path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    root = tmp_path / "served"
    (root / "good").mkdir(parents=True)
    (root / "bad").mkdir()
    (root / "good" / "a.gz").write_bytes(CONTENT)
    (root / "bad" / "a.gz").write_bytes(b"something else")
    Quiet.asked.clear()
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}", root
    http.shutdown()
    thread.join()
    http.server_close()


def test_falls_over_to_the_next_mirror(server: tuple[str, Path], tmp_path: Path) -> None:
    address, _ = server
    mirrors = (DEAD, f"{address}/missing", f"{address}/bad", f"{address}/good")
    folder = fetch_files("Set", FILES, mirrors, tmp_path / "cache", advice="Get it.")
    assert (folder / "a.gz").read_bytes() == CONTENT
    assert list(dict.fromkeys(Quiet.asked)) == ["/missing/a.gz", "/bad/a.gz", "/good/a.gz"]


def test_a_file_that_is_there_is_not_asked_for(server: tuple[str, Path], tmp_path: Path) -> None:
    address, _ = server
    for _ in range(2):
        fetch_files("Set", FILES, (f"{address}/good",), tmp_path / "cache", advice="")
    assert Quiet.asked == ["/good/a.gz"]


def test_a_damaged_file_is_fetched_again(server: tuple[str, Path], tmp_path: Path) -> None:
    address, _ = server
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "a.gz").write_bytes(CONTENT[:4])
    fetch_files("Set", FILES, (f"{address}/good",), folder, advice="")
    assert (folder / "a.gz").read_bytes() == CONTENT


def test_failure_says_why_of_each_mirror_and_keeps_nothing(server: tuple[str, Path], tmp_path: Path) -> None:
    address, _ = server
    with pytest.raises(InputError) as raised:
        fetch_files("Set", FILES, (f"{address}/bad", f"{address}/missing", DEAD), tmp_path / "cache", advice="Get it.")
    text = str(raised.value)
    assert "another SHA-256" in text
    assert "HTTP 404" in text
    assert "127.0.0.1:9: Connection" in text
    assert text.endswith("Get it.")
    assert "\n" not in text
    assert not list((tmp_path / "cache").iterdir())


def test_the_mirror_that_answered_is_asked_first(server: tuple[str, Path], tmp_path: Path) -> None:
    address, root = server
    (root / "good" / "b.gz").write_bytes(CONTENT)
    files = {**FILES, "b.gz": FILES["a.gz"]}
    fetch_files("Set", files, (f"{address}/missing", f"{address}/good"), tmp_path / "cache", advice="")
    assert "/missing/b.gz" not in Quiet.asked


def test_an_unwritable_folder_is_an_error_of_one_line(server: tuple[str, Path], tmp_path: Path) -> None:
    address, _ = server
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Get it"):
        fetch_files("Set", FILES, (f"{address}/good",), tmp_path / "file" / "cache", advice="Get it.")
