"""How a command ends: exit codes, one line on stderr, signals."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup

from batchlimit.errors import InputError, LedgerError, TrialError, in_one_line, place_of

OK = 0
RUN_FAILED = 1
BAD_INPUT = 2
DEBUG_VARIABLE = "BATCHLIMIT_DEBUG"
# A disk, a quota or a file that is full: nothing is wrong with the command or the tool.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Terminated(BaseException):
    """A signal that ends the process was received; derives from BaseException as KeyboardInterrupt does."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def resumable(message: str) -> Iterator[None]:
    """Have an interruption within the block say `message`: how to go on."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as stop:
        stop.add_note(message)
        raise


def say(text: str) -> None:
    """Print one line to stderr, whatever line breaks and terminal controls `text` holds."""
    line = "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
    # A stderr that is closed, or cannot take a letter, must not turn one exit code into another.
    with contextlib.suppress(OSError, ValueError):
        encoding = getattr(sys.stderr, "encoding", None) or "ascii"
        print(f"batchlimit: {line}".encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr, flush=True)


class Commands(TyperGroup):
    """The group of all commands: every way of ending is turned into its exit code here, for tests as for users."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an interruption says how to go on and ends with 128 + the signal's number."""
        before = _listen()
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader of our output has gone (`| head`): nothing is wrong, and nothing more can be said.
            _drop_output()
            raise typer.Exit(OK) from None
        except KeyboardInterrupt as stop:
            raise typer.Exit(_stopped(stop, signal.SIGINT)) from None
        except Terminated as stop:
            raise typer.Exit(_stopped(stop, stop.number)) from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run the command line and exit with its code, or return the code where not `standalone_mode`."""
        code = self._code(*args, **{**extra, "standalone_mode": False})
        if standalone_mode:
            sys.exit(code)
        return code

    def _code(self, *args: Any, **extra: Any) -> int:
        try:
            returned = super().main(*args, **extra)
            # Here rather than at the interpreter's end, where a full disk would be a traceback.
            if sys.stdout is not None:
                sys.stdout.flush()
            return returned if isinstance(returned, int) else OK
        except InputError as error:
            say(str(error))
            return BAD_INPUT
        except LedgerError as error:
            say(str(error))
            return RUN_FAILED
        except BrokenPipeError:
            _drop_output()
            return OK
        except SystemExit as stop:
            # How rich and click end the process where the reader of a help page has gone.
            if isinstance(stop.__context__, BrokenPipeError):
                return OK
            raise
        except OSError as error:
            return _full(error) if error.errno in FULL else _unexpected(error)
        except Exception as error:
            return _unexpected(error)


def _drop_output() -> None:
    """Let what is still buffered for stdout go nowhere, or the interpreter would complain about it at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _full(error: OSError) -> int:
    what = f"'{error.filename}'" if error.filename else "all of the output"
    _drop_output()
    say(f"cannot write {what}: {error.strerror}. Make room, then run the same command again.")
    return RUN_FAILED


def _unexpected(error: Exception) -> int:
    usage = getattr(error, "format_message", None)
    if callable(usage) and isinstance(getattr(error, "exit_code", None), int):
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
            return BAD_INPUT
        context = getattr(error, "ctx", None)
        again = f" See '{context.command_path} --help'." if context is not None else ""
        said = str(usage()).replace(": Value error, ", ": ")  # how pydantic, which typer asks, begins
        say(f"{said.rstrip('.') + '.' if not said.endswith('?') else said}{again}")
        return BAD_INPUT
    if isinstance(error, typer.Abort):
        return 128 + signal.SIGINT
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    advice = "" if os.environ.get(DEBUG_VARIABLE) else f" Set {DEBUG_VARIABLE}=1 for the traceback."
    if isinstance(error, TrialError):
        say(f"{error}{advice}")
    elif place_of(error):
        said = "".join(f" {note}" for note in getattr(error, "__notes__", ())[-1:])
        say(f"your own code raised {in_one_line(error)}.{said}{advice}")
    else:
        say(f"unexpected {in_one_line(error)}. This is a bug or a broken environment.{advice}")
    return RUN_FAILED


def _stopped(stop: BaseException, number: int) -> int:
    what = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
    say(". ".join([what, *getattr(stop, "__notes__", [])]))
    return 128 + number


def _listen() -> dict[int, Any]:
    """Turn SIGTERM and SIGHUP into `Terminated`; return the handlers that were there."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated(number)

    before: dict[int, Any] = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # A handler can be set in the main thread only; `nohup` ignores SIGHUP, and that is kept.
        if number is None or signal.getsignal(number) is signal.SIG_IGN:
            continue
        try:
            before[number] = signal.signal(number, stop)
        except ValueError:
            return before
    return before
