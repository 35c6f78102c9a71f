"""The subcommands of ``mrcz``, one module each."""

from . import compress, decompress, demo, info

__all__ = ["COMMANDS"]

COMMANDS = (info, compress, decompress, demo)
"""In the order of the help."""
