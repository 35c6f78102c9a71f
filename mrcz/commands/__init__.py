"""The subcommands of ``mrcz``, one module each."""

from . import compress, convert, decompress, demo, info, repair, verify

__all__ = ["COMMANDS"]

COMMANDS = (info, compress, decompress, convert, verify, repair, demo)
"""In the order of the help."""
