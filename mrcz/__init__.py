"""Read and write MRC and MRCZ electron-microscopy files."""

from typing import TYPE_CHECKING, Any

from . import errors, ioMRC
from .__version__ import __version__
from .errors import (
    FrameIndexError,
    MissingCodecError,
    MRCChecksumError,
    MRCError,
    MRCFormatError,
    MRCTruncatedError,
)
from .ioMRC import (
    BLOSC2_PRESENT,
    BLOSC_PRESENT,
    CAN_COMPRESS,
    REVERSE_CCPEM_ENUM,
    _setAsyncWorkers,
    async_read_mrc,
    async_write_mrc,
    asyncReadMRC,
    asyncWriteMRC,
    default_header,
    defaultHeader,
    read_mrc,
    read_mrc_header,
    readMRC,
    readMRCHeader,
    set_default_threads,
    setDefaultThreads,
    write_mrc,
    write_mrc_header,
    writeMRC,
    writeMRCHeader,
)
from .recycling import set_kept_memory
from .selftest import test
from .stack import Stack
from .stack import open as open
from .writer import StackWriter, create

__all__ = [  # without `open`: `from mrcz import *` would hide the builtin
    "BLOSC2_PRESENT",
    "BLOSC_PRESENT",
    "CAN_COMPRESS",
    "REVERSE_CCPEM_ENUM",
    "FrameIndexError",
    "MRCChecksumError",
    "MRCError",
    "MRCFormatError",
    "MRCTruncatedError",
    "MissingCodecError",
    "Stack",
    "StackWriter",
    "__version__",
    "_setAsyncWorkers",
    "asyncReadDM4",
    "asyncReadMRC",
    "asyncWriteMRC",
    "async_read_dm4",
    "async_read_mrc",
    "async_write_mrc",
    "compress_many",
    "create",
    "defaultHeader",
    "default_header",
    "errors",
    "from_dask",
    "ioMRC",
    "readDM4",
    "readMRC",
    "readMRCHeader",
    "read_dm4",
    "read_mrc",
    "read_mrc_header",
    "repair",
    "setDefaultThreads",
    "set_default_threads",
    "set_kept_memory",
    "test",
    "verify",
    "writeMRC",
    "writeMRCHeader",
    "write_mrc",
    "write_mrc_header",
]

if TYPE_CHECKING:  # for type checkers and editors, the names that `_LATER` finds
    from . import convert as convert
    from . import ioDM as ioDM
    from . import ioDM4 as ioDM4
    from .integrity import verify
    from .ioDM4 import async_read_dm4, asyncReadDM4, read_dm4, readDM4
    from .plugins.batch import compress_many
    from .plugins.dask import from_dask
    from .salvage import repair

_LATER = {
    "asyncReadDM4": ("ioDM4", "asyncReadDM4"),
    "async_read_dm4": ("ioDM4", "asyncReadDM4"),
    "compress_many": ("plugins.batch", "compress_many"),
    "from_dask": ("plugins.dask", "from_dask"),
    "readDM4": ("ioDM4", "readDM4"),
    "read_dm4": ("ioDM4", "readDM4"),
    "repair": ("salvage", "repair"),
    "verify": ("integrity", "verify"),
}
"""Names whose modules are imported when they are first asked for."""

_LATER_MODULES = ("convert", "ioDM", "ioDM4")


if not TYPE_CHECKING:  # which would believe in every name

    def __getattr__(name: str) -> Any:
        import importlib

        if name in _LATER:
            module, attribute = _LATER[name]
            return getattr(importlib.import_module(f".{module}", __name__), attribute)
        if name in _LATER_MODULES:
            return importlib.import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *_LATER_MODULES})
