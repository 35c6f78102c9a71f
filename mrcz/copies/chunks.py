"""How a file is compressed, as its chunks say, which may differ from what its header says."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..codec import CHUNK_HEADER_BYTES, ChunkHeader, chunk_compressor, read_chunk_header
from ..reader import MRCReader

__all__ = ["describe_chunks"]

MOST_CHUNKS = 256
"""Chunk headers that are looked at, spread over the file."""


def describe_chunks(reader: MRCReader) -> dict[str, Any]:
    """Return what the chunks of a compressed file say of themselves."""
    numbers = np.unique(np.linspace(0, reader.record.nz - 1, MOST_CHUNKS).round().astype(int))
    starts = [reader.table.span(int(number))[0] for number in numbers]
    chunks = [read_chunk_header(reader.source.read(start, CHUNK_HEADER_BYTES)) for start in starts]
    return {
        "codec": sorted({_codec_of(chunk) for chunk in chunks}),
        "filter": sorted({chunk.filter if chunk.is_blosc1 else "blosc2 pipeline"
                          for chunk in chunks}),
        "blocksize": sorted({chunk.blocksize for chunk in chunks}),
        "typesize": sorted({chunk.typesize for chunk in chunks}),
        "blosc": sorted({1 if chunk.is_blosc1 else 2 for chunk in chunks}),
        "smallest": min(chunk.cbytes for chunk in chunks),
        "largest": max(chunk.cbytes for chunk in chunks),
    }


def _codec_of(chunk: ChunkHeader) -> str:
    if chunk.is_memcpy:
        return "stored"
    if not chunk.is_blosc1:
        return "blosc2"
    return chunk_compressor(chunk) or f"format {chunk.flags >> 5}"
