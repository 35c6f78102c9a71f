"""The ``mrcz`` command: its arguments, its errors and its exit codes.

Each subcommand is a module of `mrcz.commands` with ``add_parser`` and ``run``.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from .__version__ import __version__
from .commands import COMMANDS
from .commands.console import UsageError, complain
from .errors import MRCError

__all__ = ["build_parser", "main"]

FAILED, WRONG_ARGUMENTS, INTERRUPTED, UNREAD, TERMINATED = 1, 2, 130, 141, 143
"""The last three are what shells make of SIGINT, SIGPIPE and SIGTERM."""

EPILOG = """\
examples:
  mrcz info movie.mrc                     what a file holds
  mrcz compress raw/ -o archive/          every MRC file below raw/
  mrcz compress --delete-original *.mrc   in place, originals removed once verified
  mrcz decompress archive/movie.mrcz      the original back, byte for byte

Exit codes: 0 all went well, 1 a file failed, 2 wrong arguments, 130 interrupted, 143 terminated,
141 whoever read the output (head, say) left before its end. Of diff, verify and repair 1 is an
answer (files differ, are damaged, frames are lost), and 2 any trouble.
"mrcz COMMAND --help" shows the options of a command.
"""


class _Command(argparse.ArgumentParser):
    """The arguments of a subcommand: options may stand between its files."""

    _inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._inside:  # called by what is called below
            return super().parse_known_args(args, namespace)
        self._inside = True
        try:
            found, unknown = self.parse_known_intermixed_args(
                _without_separator(list(args)), namespace)
        finally:
            self._inside = False
        if unknown:  # told here, with the usage of the command and not that of all
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def _without_separator(args: list[str]) -> list[str]:
    """Return arguments without ``--``, the files behind it so written that they are no options.

    Intermixed parsing of argparse knows no ``--``.
    """
    if "--" not in args:
        return args
    place = args.index("--")
    return args[:place] + [os.path.join(".", name) if name.startswith("-") else name
                           for name in args[place + 1 :]]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="mrcz",
        description="Compress, inspect and convert MRC files of electron microscopy.",
        epilog=EPILOG,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=28),
    )
    parser.add_argument("--version", action="version", version=f"mrcz {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True,
                                       parser_class=_Command)
    for command in COMMANDS:
        subparser = command.add_parser(subparsers)
        subparser.set_defaults(run=command.run, failed=getattr(command, "TROUBLE", FAILED))
        subparser.add_argument("-q", "--quiet", action="store_true",
                               help="print errors and what was asked for, nothing else")
        subparser.add_argument("--debug", action="store_true",
                               help="show the traceback of an error")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; None: those of the process.

    Returns
    -------
    int
        0 all went well, 1 a file failed, 2 wrong arguments, 130 interrupted, 143
        terminated, 141 the output was closed; of diff, verify and repair 1 is an answer,
        and 2 any trouble.
    """
    with _somewhere_to_print():
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as stop:  # argparse has said why; or it was --help
        return int(stop.code or 0)
    with _log_to_stderr(args.command), _stopping_on_sigterm():
        return _run(args)


@contextmanager
def _somewhere_to_print() -> Iterator[None]:
    """Print to nowhere what would go to streams that are closed, as under a daemon."""
    closed = [name for name in ("stdout", "stderr") if getattr(sys, name) is None]
    with ExitStack() as stack:
        for name in closed:
            setattr(sys, name, stack.enter_context(open(os.devnull, "w", encoding="utf-8")))
            stack.callback(setattr, sys, name, None)
        yield


def _run(args: argparse.Namespace) -> int:
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except UsageError as error:
        complain(args.command, error)
        return WRONG_ARGUMENTS
    except KeyboardInterrupt as error:
        was_terminated = isinstance(error, _Terminated)
    except BrokenPipeError:  # the reader of a pipe (head, say) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except (MRCError, OSError, ValueError, TypeError, ImportError, MemoryError) as error:
        if args.debug:
            return _failed_with_traceback(args)
        complain(args.command, error)
        return int(args.failed)
    except Exception:  # of ours; Python would exit with 1, which may be an answer
        return _failed_with_traceback(args)
    # Only now, when nothing holds what was under way, and what ends with it has told so.
    complain(args.command, "terminated" if was_terminated else "interrupted")
    return TERMINATED if was_terminated else INTERRUPTED


def _failed_with_traceback(args: argparse.Namespace) -> int:
    """Show the exception that is handled as Python does, but exit as the command does."""
    if args.failed == FAILED:
        raise
    traceback.print_exc()
    return int(args.failed)


class _Terminated(KeyboardInterrupt):
    """SIGTERM came, as of a batch system whose time is up: to be cleaned up after like Ctrl-C."""


def _terminate(number: int, frame: object) -> None:
    raise _Terminated


@contextmanager
def _stopping_on_sigterm() -> Iterator[None]:
    """Leave no unfinished file behind at SIGTERM, unless who calls has plans of their own."""
    is_free = (threading.current_thread() is threading.main_thread()
               and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    if not is_free:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _log_to_stderr(command: str) -> Iterator[None]:
    """Show the library's warnings as lines like those of the command."""
    logger = logging.getLogger("mrcz")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"mrcz {command}: warning: %(message)s"))
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
