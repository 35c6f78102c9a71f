"""Read and write MRC and MRCZ electron-microscopy files."""

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
from .integrity import repair, verify
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
from .selftest import test
from .stack import Stack, open
from .writer import StackWriter, create

__all__ = [
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
    "asyncReadMRC",
    "asyncWriteMRC",
    "async_read_mrc",
    "async_write_mrc",
    "create",
    "defaultHeader",
    "default_header",
    "errors",
    "ioMRC",
    "open",
    "readMRC",
    "readMRCHeader",
    "read_mrc",
    "read_mrc_header",
    "repair",
    "setDefaultThreads",
    "set_default_threads",
    "test",
    "verify",
    "writeMRC",
    "writeMRCHeader",
    "write_mrc",
    "write_mrc_header",
]
