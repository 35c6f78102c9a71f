"""The tags of Gatan DM3 and DM4 files: a tree of named values, read without the pixels.

A file is a header and one directory.  A directory counts its entries; an entry has a name
and is another directory or a value, which begins with the description of its type (see
`mrcz.dm.types`).  DM3 has lengths and counts of 32 bits, DM4 of 64, and in DM4 each entry
also tells its own length.  Structure is big-endian; values are in the order that the
header names.  There is no index: to know one tag is to walk past all before it.

Files are read in pieces with plain reads, not through a memory map: a map of a file that
another program cuts short while it is read would end the process with SIGBUS.
"""

from __future__ import annotations

import logging
import os
import struct
import warnings
from typing import Any, NamedTuple

from ..errors import MRCFormatError, MRCTruncatedError
from ..foreign import kind_of
from ..sources import FileSource, Source
from .array import DMArray
from .types import BYTE, MAX_DEPTH, ArrayType, Order, StringType, TagType, describe

__all__ = ["TagParser"]

logger = logging.getLogger(__name__)

READ_SIZE = 1 << 16
LAZY_SIZE = 1 << 16
"""Values of more bytes than this stay in the file, as `DMArray`."""
MAX_PARTS = 2
"""So do those that would make more Python objects than so many a byte, as structs can that are
nested or have fields of no size."""
MAX_INFO = 1 << 16
MAX_DAMAGE = 100
"""Errors that are kept of a damaged file; the others are counted."""
MAX_KNOWN = 16
"""Descriptions of more integers than this are hardly alike, and are not remembered."""
DIRECTORY, VALUE = 20, 21
CLOSED = "the tags have been read and the file is closed: see .tags"
HEADER = "the header"
"""What stands for a path before there are tags."""


class _Variant(NamedTuple):
    """What differs between the two versions of the format."""

    word: struct.Struct  # a length or count
    letter: str  # its character for the struct module
    value: struct.Struct  # the start of a value: a mark, and how many words describe its type
    sized: bool  # entries tell their length


_VARIANTS = {3: _Variant(struct.Struct(">I"), "I", struct.Struct(">4sI"), False),
             4: _Variant(struct.Struct(">Q"), "Q", struct.Struct(">4sQ"), True)}
_ENTRY = struct.Struct(">BH")  # kind, length of the name
_U64 = struct.Struct(">Q")


class TagParser:
    """Reads the tags of a file into ``tags``, once, when it is made.

    The methods in python-mrcz's spelling are the steps of that one pass and can be
    overridden; each reads at the place in the file where the pass stands, so calling them
    later raises ValueError.

    Parameters
    ----------
    filename : str or os.PathLike
        The file.
    verbose : bool
        Log each tag, at level INFO of the logger ``mrcz.dm.tags``.
    permissive : bool
        Keep what could be read of a damaged file, with a warning, rather than raise.
    """

    def __init__(self, filename: str | os.PathLike[str], verbose: bool = False, *,
                 permissive: bool = False) -> None:
        self.filename = os.fsdecode(filename)
        self.verbose = verbose
        self.permissive = permissive
        self.damage: list[MRCFormatError] = []
        self._damages = 0
        self._window = b""  # a piece of the file, where it starts and where the pass stands
        self._window_start = self._window_end = 0
        self._position = 0
        self._depth = 0
        self._entry_end: int | None = None  # where the entry ends, if the file tells (DM4)
        self._types: dict[bytes, tuple[TagType, bool]] = {}  # by their descriptions
        self._lost = False  # damage has left the pass without a place to go on from
        self.version = 0
        self.order: Order = "<"
        self.f: Source | None = None
        self.tags = self._parse_file()
        if self.damage:
            more = f" and {self._damages - 1} more" if self._damages > 1 else ""
            warnings.warn(f"{self.damage[0]}{more}; kept what could be read",
                          RuntimeWarning, stacklevel=3)

    # --- structure ----------------------------------------------------------------------

    def _parse_file(self) -> dict[str, Any]:
        with FileSource(self.filename) as self.f:
            try:
                self._size = self.f.size
                self._read_header()
                root = self.parseTagDir("")
            except MRCTruncatedError as error:  # before the first tag
                self._report(error)
                self._lost, root = True, {}
            finally:
                self.f = None
                self._window = b""
                self._window_end = -1
                self._types.clear()
        if not self._lost:
            self._check_end()
        # A root without any names holds nothing to find; its kind should not vary for it.
        return root if isinstance(root, dict) else {f"[{i}]": v for i, v in enumerate(root)}

    def _read_header(self) -> None:
        assert self.f is not None
        start = self.f.read(0, min(4, self._size))
        version = int.from_bytes(start, "big") if len(start) == 4 else None
        if version not in _VARIANTS and (version is not None or any(start)):
            kind = kind_of(self.f.read(0, min(32, self._size)))
            raise MRCFormatError(f"not a DM3 or DM4 file{f' but {kind}' if kind else ''}",
                                 path=self.filename, offset=0, expected="version 3 or 4",
                                 found=version or start)
        self._take(4, HEADER)
        self.version = version or 0
        self._variant = variant = _VARIANTS[self.version]
        at = self._take(variant.word.size + 4, HEADER)
        self._length, little = struct.unpack_from(f">{variant.letter}I", self._window, at)
        if little > 1:
            raise MRCFormatError("unknown byte order", path=self.filename,
                                 offset=self._position - 4, expected="0 or 1", found=little)
        self.order = "<" if little else ">"

    def _check_end(self) -> None:
        """Report a file that was cut within its end mark of 8 zero bytes.

        Files whose header tells another length than that of their tags, or of their tags
        and half the mark (some DM3), are not DigitalMicrograph's and may lack the mark.
        """
        tags_size = self._position - 4 - self._variant.word.size - 4
        missing = self._position + 8 - self._size
        if missing > 0 and self._length - tags_size in (0, 4):
            self._report(MRCTruncatedError(
                "the file ends within its end mark", path=self.filename, offset=self._size,
                expected=f"{self._size + missing} bytes", found=f"{self._size} bytes"))

    def parseTagDir(self, parent: str) -> dict[str, Any] | list[Any]:  # noqa: N802
        """Read the directory at which the pass stands.

        Parameters
        ----------
        parent : str
            Its path, as DigitalMicrograph writes it: ``'ImageList:[0]:ImageData'``.

        Returns
        -------
        dict or list
            A list if no entry has a name, else a dict in which an entry without a name is
            called ``'[3]'`` after its place, and one whose name is taken ``'Name[3]'``.
        """
        count = self._begin_directory(parent)
        names: list[str] = []
        values: list[Any] = []
        self._depth += 1
        for index in range(count):
            end = None
            try:
                kind, name, end = self._read_entry(parent)
                # Cut short, or a file of long names would cost time beyond its size.
                path = f"{parent}:{name[:80] or f'[{index}]'}" if parent else name[:80]
                value = (self.parseTagDir if kind == DIRECTORY else self.parseTag)(path)
                names.append(name)
                values.append(value)
            except MRCFormatError as error:
                self._report(error)
                self._entry_end = end
                self.discardTag()
            if self._lost:
                break
        self._depth -= 1
        return _as_container(names, values)

    def _begin_directory(self, parent: str) -> int:
        """Step over the start of a directory; return how many entries it announces."""
        if self._depth > MAX_DEPTH:
            raise self._error(MRCFormatError, f"directories nested more than {MAX_DEPTH} deep",
                              parent)
        word = self._variant.word
        at = self._take(2 + word.size, parent)  # the flags sorted and open come first
        count: int = word.unpack_from(self._window, at + 2)[0]
        return count

    def _read_entry(self, parent: str) -> tuple[int, str, int | None]:
        """Read kind, name and, where told, end of an entry; stop before its content."""
        at = self._take(3, parent)
        kind, length = _ENTRY.unpack_from(self._window, at)
        if kind != DIRECTORY and kind != VALUE:
            raise self._error(MRCFormatError, "an entry is neither directory nor value", parent,
                              back=3, expected=f"{DIRECTORY} or {VALUE}", found=kind)
        sized = self._variant.sized
        at = self._take(length + 8 if sized else length, parent)
        raw = self._window[at:at + length]
        name = raw.decode() if raw.isascii() else _decode_name(raw)
        if not sized:
            return kind, name, None
        return kind, name, self._position + _U64.unpack_from(self._window, at + length)[0]

    # --- values -------------------------------------------------------------------------

    def parseTag(self, parent: str) -> Any:  # noqa: N802
        """Read the value at which the pass stands, and return it.

        Parameters
        ----------
        parent : str
            The path of the tag.

        Returns
        -------
        int, float, bool, str, tuple, list or DMArray
            A struct is a tuple, an array a list.  What is larger than 64 KiB, and the pixels
            of images, are a `mrcz.ioDM4.DMArray`.
        """
        self._path = parent
        start = self._variant.value
        at = self._take(start.size, parent)
        mark, tag_ninfo = start.unpack_from(self._window, at)
        if mark != b"%%%%":
            raise self._error(MRCFormatError, "no value where one should start", parent,
                              back=start.size, expected=b"%%%%", found=mark)
        value = self.retrieveTagData(tag_ninfo)
        if self.verbose:
            logger.info("%s = %r", parent, value)
        return value

    def retrieveTagData(self, tag_ninfo: int) -> Any:  # noqa: N802
        """Read a value whose type is described by the next `tag_ninfo` integers.

        Parameters
        ----------
        tag_ninfo : int
            How many integers describe the type.

        Returns
        -------
        object
            As `parseTag`.
        """
        path = self._path
        if not 0 < tag_ninfo <= MAX_INFO:
            raise self._error(MRCFormatError, "bad length of a type's description", path,
                              expected=f"1 to {MAX_INFO}", found=tag_ninfo)
        length = tag_ninfo * self._variant.word.size
        at = self._take(length, path)
        raw = self._window[at:at + length]
        described, is_large = self._types.get(raw) or self._describe(raw, tag_ninfo)
        if is_large or (path.endswith(":ImageData:Data") and isinstance(described, ArrayType)):
            return self._refer(_as_array(described))
        at = self._take(described.size, path)
        return described.decode(self._window, at, self.order)

    def _describe(self, raw: bytes, count: int) -> tuple[TagType, bool]:
        """Return the type that `count` integers describe, and whether to leave it in the file."""
        info = struct.unpack(f">{count}{self._variant.letter}", raw)
        try:
            described = describe(info)
        except ValueError as error:
            raise self._error(MRCFormatError, f"bad description of a type: {error}",
                              self._path) from error
        is_large = (described.size > LAZY_SIZE
                    or described.parts > 64 + MAX_PARTS * (described.size + count))
        if count <= MAX_KNOWN:
            self._types[raw] = described, is_large
        return described, is_large

    def discardTag(self) -> None:  # noqa: N802
        """Step over the rest of the entry at which the pass stands.

        Only DM4 tells where that is, and only if it is not damaged itself; otherwise
        nothing after this place can be read.
        """
        if self.f is None:
            raise ValueError(CLOSED)
        end = self._entry_end
        if end is None or not self._position <= end <= self._size:
            self._lost = True
        else:
            self._position = end

    def _refer(self, described: ArrayType) -> DMArray:
        """Step over an array that stays in the file."""
        offset, left = self._position, self._size - self._position
        count = described.count
        if described.size > left:
            error = self._error(MRCTruncatedError, "the file ends within an array", self._path,
                                expected=f"{described.size} bytes", found=f"{left} bytes")
            self._report(error)
            count = left // described.item.size
            self._lost = True
        self._position = min(offset + described.size, self._size)
        try:
            dtype = described.item.dtype(self.order)
        except (ValueError, TypeError) as error:  # NumPy knows no items of 2 GiB
            raise self._error(MRCFormatError, f"an array of such items: {error}",
                              self._path) from error
        return DMArray(self.filename, offset, dtype, (count,))

    # --- the file -----------------------------------------------------------------------

    def _take(self, count: int, path: str) -> int:
        """Step over `count` bytes; return where in the window they start."""
        start = self._position
        end = start + count
        if end > self._window_end:
            self._fill(count, path)
        self._position = end
        return start - self._window_start

    def _fill(self, count: int, path: str) -> None:
        """Make the window start where the pass stands and hold at least `count` bytes."""
        if self.f is None:
            raise ValueError(CLOSED)
        if count > self._size - self._position:
            raise self._error(MRCTruncatedError, "the file ends within it", path)
        size = min(max(count, READ_SIZE), self._size - self._position)
        self._window = self.f.read(self._position, size)
        self._window_start = self._position
        self._window_end = self._position + size

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_variant": None}  # of no use after reading

    # --- damage -------------------------------------------------------------------------

    def _error(self, kind: type[MRCFormatError], problem: str, path: str, *, back: int = 0,
               expected: object = None, found: object = None) -> MRCFormatError:
        where = HEADER if path is HEADER else f"tag {path!r}" if path else "the root directory"
        return kind(f"{problem}, in {where}", path=self.filename,
                    offset=self._position - back, expected=expected, found=found)

    def _report(self, error: MRCFormatError) -> None:
        if not self.permissive:
            raise error
        self._damages += 1
        if len(self.damage) < MAX_DAMAGE:
            self.damage.append(error.with_traceback(None))  # which would keep all local variables


def _as_array(described: TagType) -> ArrayType:
    if isinstance(described, StringType):
        return ArrayType(BYTE, described.size)
    return described if isinstance(described, ArrayType) else ArrayType(described, 1)


def _as_container(names: list[str], values: list[Any]) -> dict[str, Any] | list[Any]:
    if values and not any(names):
        return values
    entries: dict[str, Any] = {}
    for index, (name, value) in enumerate(zip(names, values, strict=True)):
        key = name or f"[{index}]"
        while key in entries:
            key = f"{key}[{index}]"
        entries[key] = value
    return entries


def _decode_name(raw: bytes) -> str:
    """Names are in the code page of the computer that wrote them, or in UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
