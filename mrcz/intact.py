"""Which frames of a damaged file are intact, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from .checksums import checksum_of
from .chunksearch import ChunkSearch, length_of
from .codec import MAX_CHUNK_BYTES
from .errors import MRCError, MRCFormatError
from .header import Record
from .pixels import Pixels
from .progress import Advance, unseen
from .reader import MRCReader
from .trailer import Trailer

__all__ = ["Intact", "find_intact", "frame_buffer"]

Span = tuple[int, int]
"""Offset and length of a chunk."""


@dataclass
class Intact:
    """What is intact of a file.

    Attributes
    ----------
    spans : dict of int to (int, int)
        Frame to offset and length of its bytes.
    notes : list of str
        What could not be known for sure.
    """

    spans: dict[int, Span] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_intact(reader: MRCReader, advance: Advance = unseen) -> Intact:
    """Find the frames of a file that are intact.

    Compressed ones are found by the trailer, or from chunk to chunk and, where that way is
    broken, by searching for the next one; uncompressed ones are those before a cut.

    Parameters
    ----------
    reader : MRCReader
        The file.
    advance : callable
        Told the bytes of compressed frames that were looked at.

    Raises
    ------
    MRCFormatError
        If frames are too large to be chunks.
    MissingCodecError
        If its frames can't be told from damage without a package.
    """
    if reader.record.compressor is None:
        return _whole_frames(reader)
    if reader.trailer is not None:
        return Intact(_by_trailer(reader, reader.trailer, advance))
    return _by_search(reader, advance)


def frame_buffer(record: Record) -> Pixels:
    """Return room for a stored frame, whose size a damaged header may have wrong.

    Raises
    ------
    MRCFormatError
        If it can't be a chunk.
    """
    if record.frame_bytes > MAX_CHUNK_BYTES:
        raise MRCFormatError("a compressed frame can't be this large", path=record.path,
                             expected=f"at most {MAX_CHUNK_BYTES} bytes",
                             found=record.frame_bytes)
    try:
        return np.zeros(record.frame_bytes, np.uint8)
    except MemoryError as error:
        raise MRCError(f"{record.path}: not enough memory for a frame of {record.frame_bytes} "
                       f"bytes") from error


def _whole_frames(reader: MRCReader) -> Intact:
    record = reader.record
    count = max(0, reader.source.size - record.data_offset) // record.frame_bytes
    return Intact({frame: (record.data_offset + frame * record.frame_bytes, record.frame_bytes)
                   for frame in range(min(count, record.nz))})


def _by_trailer(reader: MRCReader, trailer: Trailer, advance: Advance) -> dict[int, Span]:
    source, found = reader.source, {}
    for frame, (offset, length, checksum) in enumerate(
        zip(trailer.offsets, trailer.lengths, trailer.checksums, strict=True)
    ):
        if not source.holds(offset + length):
            continue
        chunk = source.read(offset, length)
        advance(length)
        # A header whose sizes are damaged fits no chunk, however sound that is.
        if checksum_of(chunk) == checksum and length_of(chunk, reader.record, offset,
                                                       source.size) == length:
            found[frame] = (offset, length)
    return found


def _by_search(reader: MRCReader, advance: Advance) -> Intact:
    record = reader.record
    search = ChunkSearch(reader.source, record, frame_buffer(record), advance)
    first, *others = search.runs()
    runs = [first, *filter(None, others)]
    if search.missing is not None and not any(runs):
        raise search.missing
    found = Intact()
    if record.nz - sum(map(len, runs)) < len(runs) - 1:  # chunks of who knows what
        runs = [[chunk for run in runs for chunk in run][: record.nz]]
    starts, is_estimated = _starts_of(record, runs)
    for start, run in zip(starts, runs, strict=True):
        found.spans.update(enumerate(run, start))
    if is_estimated:
        found.notes.append("no index tells how many frames some holes swallowed: that is "
                           "estimated from their sizes")
    if search.gave_up_at is not None:
        found.notes.append(f"so much looks like a frame and is none that the search ended at "
                           f"byte {search.gave_up_at}: what is behind it is lost")
    return found


def _starts_of(record: Record, runs: list[list[Span]]) -> tuple[list[int], bool]:
    """Return the number of each run's first frame, and whether some of them are estimated.

    Parameters
    ----------
    record : Record
        Of the file.
    runs : list of list of (int, int)
        Chunks that lie one behind the other, with holes between the lists. The first one is
        of the first frames, and empty if these are lost.
    """
    known = {0: 0}
    if len(runs) > 1 and sum(runs[-1][-1]) == record.data_offset + record.fields["packed_bytes"]:
        known[len(runs) - 1] = record.nz - len(runs[-1])
    frames = {record.data_offset + start: frame
              for frame, start in record.index.by_frame().items()}
    indexed = {number: frames[offset] - place for number, run in enumerate(runs)
               for place, (offset, _) in enumerate(run) if offset in frames} | known
    starts = _between(record, runs, indexed)
    if starts is None:  # an index that lies
        indexed, starts = known, _between(record, runs, known)
    assert starts is not None
    settled = [*sorted(indexed), len(runs)]
    return starts, any(stop - start > 1 for start, stop in pairwise(settled))


def _between(record: Record, runs: list[list[Span]], known: dict[int, int]) -> list[int] | None:
    """Return the number of each run's first frame, where some are known; None if they can't be."""
    starts: list[int] = []
    gaps, begins = _gaps(record, runs), sorted(known)
    for begin, stop in zip(begins, [*begins[1:], None], strict=True):
        frame, part = known[begin], runs[begin:stop]
        last = record.nz if stop is None else known[stop]
        holes = len(part) if stop is not None else len(part) - 1
        missing = last - frame - sum(map(len, part))
        if missing < holes:
            return None
        lost = _share_out(missing, gaps[begin : begin + holes], complete=stop is not None)
        for run, gap in zip(part, [*lost, 0], strict=False):
            starts.append(frame)
            frame += len(run) + gap
    return starts


def _gaps(record: Record, runs: list[list[Span]]) -> list[float]:
    """Return how many chunks of average length the hole behind each run but the last would hold."""
    lengths = [length for run in runs for _, length in run]
    average = sum(lengths) / max(1, len(lengths))
    ends = [sum(run[-1]) if run else record.data_offset for run in runs]
    return [(run[0][0] - end) / average for run, end in zip(runs[1:], ends, strict=False)]


def _share_out(missing: int, gaps: list[float], *, complete: bool) -> list[int]:
    """Return how many of the `missing` frames lie in each hole, at least one in each.

    Parameters
    ----------
    missing : int
        At least ``len(gaps)``.
    gaps : list of float
        Sizes of the holes, in chunks.
    complete : bool
        Whether none is missing behind the last hole and what follows it.
    """
    lost: list[int] = []
    for number, gap in enumerate(gaps):
        still = len(gaps) - number - 1
        most = missing - sum(lost) - still
        last_of_all = complete and still == 0
        lost.append(most if last_of_all else max(1, min(round(gap), most)))
    return lost
