"""The subcommands of ``mrcz``, one module each."""

from . import (
    bench,
    completion,
    compress,
    convert,
    decompress,
    demo,
    diff,
    info,
    repair,
    stats,
    verify,
    view,
)

__all__ = ["COMMANDS"]

COMMANDS = (info, compress, decompress, convert, view, stats, diff, verify, repair, bench, demo,
            completion)  # fmt: skip
"""In the order of the help."""
