"""Chunks, whole or in pieces, to their places in a file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .checksums import ChunkHasher, checksum_of
from .codec import CHUNK_HEADER_BYTES, MAX_OVERHEAD, ChunkHeader, join_headers, read_chunk_header
from .pixels import Pixels
from .sinks import Sink

__all__ = ["ChunkPlacer"]


class ChunkPlacer:
    """Writes chunks one behind the other, one a frame.

    Parameters
    ----------
    sink : Sink
        The file.
    offset : int
        Where in it the first chunk goes.
    frame_bytes : int
        Bytes of a frame, uncompressed.
    checksum : bool
        Whether to gather the chunks' checksums.

    Attributes
    ----------
    end : int
        Byte offset behind the last frame.
    extent : int
        Byte offset behind the last byte written, which pieces of a frame that did not fit
        together may have left behind `end`.
    lengths : list of int
        Stored bytes of each frame.
    checksums : list of int
        Of each chunk, where they were asked for.
    """

    def __init__(self, sink: Sink, offset: int, frame_bytes: int, *, checksum: bool) -> None:
        self.end = self.extent = offset
        self.lengths: list[int] = []
        self.checksums: list[int] = []
        self._sink = sink
        self._frame_bytes = frame_bytes
        self._checksum = checksum
        self._headers: list[ChunkHeader] = []  # of the pieces of the frame under way
        self._starts: list[Pixels] = []
        self._hasher: ChunkHasher | None = None  # of the frame under way

    def write_chunks(self, chunks: Sequence[bytes]) -> None:
        """Append frames that are chunks already."""
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._sink.write_at(self.end, data)
        self.end += len(data)
        self.lengths += map(len, chunks)
        if self._checksum:
            self.checksums += map(checksum_of, chunks)

    def write_piece(self, start: int, chunk: bytes) -> None:
        """Write the blocks of a piece of a frame, itself a chunk; `join_pieces` does the rest.

        Parameters
        ----------
        start : int
            Where in the frame the piece starts, in bytes of pixels; 0 begins a new frame.
        chunk : bytes
            The piece, compressed.
        """
        header = read_chunk_header(chunk)
        whole = header._replace(nbytes=self._frame_bytes)
        if start == 0:
            self._headers, self._starts = [], []
            self._hasher = ChunkHasher(whole) if self._checksum else None
        position = whole.prefix_bytes + sum(h.cbytes - h.prefix_bytes for h in self._headers)
        payload = memoryview(chunk)[header.prefix_bytes :]
        self._sink.write_at(self.end + position, payload)
        self.extent = max(self.extent, self.end + position + len(payload))
        if header.is_memcpy:
            starts = np.arange(0, header.nbytes, header.blocksize)
        else:
            starts = np.frombuffer(chunk, "<i4", header.block_count, CHUNK_HEADER_BYTES)
            starts = starts - header.prefix_bytes
            self._starts.append(starts + position)
        if self._hasher is not None:
            self._hasher.update(payload, starts.tolist())
        self._headers.append(header)

    def join_pieces(self) -> bool:
        """Write the header and the table of the frame whose pieces are written.

        Returns
        -------
        bool
            False, and nothing is written, if they do not make one chunk.
        """
        joined = join_headers(self._headers)
        if joined is None or joined.cbytes > self._frame_bytes + MAX_OVERHEAD:
            return False
        table = b"".join(starts.astype("<i4").tobytes() for starts in self._starts)
        prefix = joined.pack() + table
        self._sink.write_at(self.end, prefix)
        if self._hasher is not None:
            self.checksums.append(self._hasher.digest(prefix))
        self.end += joined.cbytes
        self.lengths.append(joined.cbytes)
        return True
