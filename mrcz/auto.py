"""Choosing a codec and a filter by trying them on a sample of the pixels."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .buffers import address_of
from .codec import (
    SHUFFLES,
    WIDE_TYPESIZE,
    CodecOptions,
    compress,
    decompress,
    parse_options,
    read_chunk_header,
)
from .lease import blosc_settings
from .pixels import Pixels
from .storing import FrameFormat

__all__ = ["choose", "with_typesize"]

SAMPLE_BYTES = 4 << 20
WINDOWS = 4
LEVELS = (1, 2, 3)
SECONDS = 0.4
"""Time after which no further candidate is tried."""

_SLOWEST = 1.2
"""Decompression time, against zstd 1 with bitshuffle, up to which a better ratio wins."""
_JITTER = 5e-5
"""Seconds by which two timings of a tiny sample may differ for no reason."""
_AS_GOOD = 1.004
"""Ratios this close count as equal; then the faster one to read wins."""
_HOPELESS = 1.05
"""A filter this much behind the best at level 1 is not tried at higher levels."""
_WORTHWHILE = 1.01
"""Ratio below which the file stays uncompressed."""
_FILTERS = ("shuffle", "bitshuffle", "noshuffle")
_NAMES = {number: name for name, number in SHUFFLES.items()}
_SPLIT_CODECS = ("blosclz", "lz4", "lz4hc")
_SMALL_FRAME = 1 << 16
"""Frames up to this size, in bytes, where zstd's fixed costs let zlib win."""


_WORTH_A_TRIAL = 16 << 20
"""Bytes of pixels whose writing takes long enough to try another item size first."""
_WORTH_TWO = 128 << 20
_WIDER = 1.003
"""Growth of a sample that chance alone can cause, and that twice the speed may cost."""


class _Trial(NamedTuple):
    ratio: float
    seconds: float
    options: CodecOptions


def choose(
    frames: Sequence[Pixels],
    frame_format: FrameFormat,
    wanted: tuple[str, ...],
    *,
    may_store: bool = True,
) -> CodecOptions | None:
    """Return the best way to compress frames like these; None: not at all.

    Best is the highest ratio of all that decompress nearly as fast as zstd level 1
    with bitshuffle, or with the filter that is not to be chosen. A few megabytes are tried,
    whatever the size of the stack.

    Parameters
    ----------
    frames : sequence of (ny, nx) arrays
        The first slab.
    frame_format : FrameFormat
        How they are stored; its options are the hint, and hold what is not to be chosen.
    wanted : tuple of str
        ``'compressor'``, ``'shuffle'`` or both; what is not among them stays as in the hint.
    may_store : bool
        Whether an uncompressed file will do.
    """
    hint = frame_format.options
    assert hint is not None
    windows = list(_sample(frames, frame_format, SAMPLE_BYTES, WINDOWS))
    typesize = frame_format.disk_dtype.itemsize
    started = time.perf_counter()
    filters = _FILTERS if "shuffle" in wanted else (_NAMES[hint.shuffle],)
    usual = "bitshuffle" if "bitshuffle" in filters else filters[0]
    baseline = _try(_candidate(hint, "zstd", 1, usual), windows, typesize)
    trials = [baseline]
    candidates = (_candidates(hint, filters, frame_format.frame_bytes, trials)
                  if "compressor" in wanted else
                  (replace(hint, shuffle=SHUFFLES[name]) for name in filters))
    for options in candidates:
        if time.perf_counter() - started > SECONDS:
            break
        trials.append(_try(options, windows, typesize))
    if "compressor" not in wanted:
        tried = trials[1:]  # none, where the lease of blosc's settings took all the time
        return max(tried, key=lambda trial: trial.ratio).options if tried else hint
    limit = _SLOWEST * baseline.seconds + _JITTER
    fast = [trial for trial in trials if trial.seconds <= limit]
    best = max(trial.ratio for trial in fast)
    if best < _WORTHWHILE and may_store:
        return None
    return min((trial for trial in fast if trial.ratio * _AS_GOOD >= best),
               key=lambda trial: trial.seconds).options


def _candidates(
    hint: CodecOptions, filters: Sequence[str], frame_bytes: int, trials: Sequence[_Trial]
) -> Iterator[CodecOptions]:
    """Yield what to try, given what was tried so far: filters first, then levels."""
    for name in filters:
        if SHUFFLES[name] != trials[0].options.shuffle:  # at level 1, that is the baseline
            yield _candidate(hint, "zstd", 1, name)
    best = max(trial.ratio for trial in trials)
    good = {trial.options.shuffle for trial in trials if trial.ratio * _HOPELESS >= best}
    for level in sorted({*LEVELS, hint.clevel or 1} - {1}):
        for name in filters:
            if SHUFFLES[name] in good:
                yield _candidate(hint, "zstd", level, name)
    if frame_bytes <= _SMALL_FRAME:
        for name in filters:
            if SHUFFLES[name] in good:
                yield _candidate(hint, "zlib", 3, name)


def _candidate(hint: CodecOptions, compressor: str, level: int, filter_name: str) -> CodecOptions:
    return parse_options(compressor, level, shuffle=filter_name, blocksize=hint.blocksize,
                         backend=hint.backend)


def with_typesize(frames: Sequence[Pixels], frame_format: FrameFormat) -> CodecOptions:
    """Return a format's options with the item size that reads fastest, if it costs nothing.

    c-blosc undoes the bitshuffle of items of 4 bytes two to four times as fast as that of
    smaller ones. Taking 4 or 2 pixels for an item makes no difference to the size of
    images of counts, but those of smooth ones grow, by up to a third; so it is tried on a
    sample. Not for zstd, whose ratio needs blocks of 4 or 2 times the size then.

    Parameters
    ----------
    frames : sequence of (ny, nx) arrays
        The first slab.
    frame_format : FrameFormat
        How they are stored.
    """
    options = frame_format.options
    assert options is not None
    itemsize, nbytes = frame_format.disk_dtype.itemsize, len(frames) * frame_format.frame_bytes
    if (
        options.compressor not in _SPLIT_CODECS
        or options.backend != "blosc1"
        or options.shuffle != SHUFFLES["bitshuffle"]
        or options.blocksize is not None
        or itemsize >= WIDE_TYPESIZE
        or frame_format.frame_bytes % (8 * WIDE_TYPESIZE)  # bitshuffle takes 8 items at a time
        or nbytes < _WORTH_A_TRIAL
    ):
        return options
    wide = replace(options, typesize=WIDE_TYPESIZE)
    count = 1 if nbytes < _WORTH_TWO else 2
    try:
        windows = list(_sample(frames, frame_format, count * SAMPLE_BYTES // WINDOWS, count))
    except ValueError:  # a pixel that can't be stored: the writing will say which
        return options
    sizes = [sum(map(len, _compressed(each, windows, itemsize))) for each in (options, wide)]
    return wide if sizes[1] <= _WIDER * sizes[0] else options


def _sample(
    frames: Sequence[Pixels], frame_format: FrameFormat, nbytes: int, windows: int
) -> Iterator[Pixels]:
    """Yield pieces of frames from all over the stack, as they would be stored."""
    window = nbytes // windows
    rows = min(frame_format.ny, max(1, window // frame_format.row_bytes))
    count = max(windows, nbytes // max(1, rows * frame_format.row_bytes))
    if rows == frame_format.ny:
        count = min(count, len(frames))
    for number in range(count):
        place = (2 * number + 1) / (2 * count)
        frame = frames[int(place * len(frames))]
        # Another part of each frame, so that a bright beam or a dark edge is not all.
        first = int(place * (frame_format.ny - rows))
        part = frame[first : first + rows]
        values = np.empty(part.shape, frame_format.disk_dtype)
        yield frame_format.store(part, values, what="a frame")


def _try(options: CodecOptions, windows: Sequence[Pixels], typesize: int) -> _Trial:
    nbytes = sum(window.nbytes for window in windows)
    chunks = _compressed(options, windows, typesize)
    target = np.empty(max(window.nbytes for window in windows), np.uint8)
    seconds = min(_time_decompression(chunks, target) for _ in range(3))
    return _Trial(nbytes / sum(map(len, chunks)), seconds, options)


def _compressed(
    options: CodecOptions, windows: Sequence[Pixels], typesize: int
) -> list[bytes]:
    with blosc_settings(options.block_bytes(typesize)):
        return [compress(address_of(window), window.nbytes, typesize, options)
                for window in windows]


def _time_decompression(chunks: Sequence[bytes], target: Pixels) -> float:
    started = time.perf_counter()
    with blosc_settings():
        for number, chunk in enumerate(chunks):
            decompress(memoryview(chunk), read_chunk_header(chunk), address_of(target),
                       path="a sample", offset=0, frame=number)
    return time.perf_counter() - started
