"""Frames as users hand them over, to the encoder: from memory, from dask, from a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from .behind import run_behind
from .codec import CodecOptions
from .containers import SLAB_BYTES, Container
from .encoding import FrameEncoder
from .options import WriteOptions
from .pixels import Pixels
from .progress import Advance
from .sinks import Sink
from .storing import FrameFormat

__all__ = ["FrameFeed"]


class FrameFeed:
    """Feeds frames to a `FrameEncoder`, which is made when the first of them come.

    For they may have to settle how all are stored.

    Parameters
    ----------
    sink : Sink
        The file.
    offset : int
        Where in it the first frame goes.
    frame_format : FrameFormat
        How frames are stored, as far as it is known.
    options : WriteOptions
        What the first frames decide, threads, statistics and checksums.
    room : int, optional
        The most frames that may come; None: any number.
    advance : callable, optional
        Told how many bytes of pixels are written, piece by piece.

    Attributes
    ----------
    format : FrameFormat
        How frames are stored.
    encoder : FrameEncoder or None
        None as long as no frame has come.
    """

    def __init__(
        self,
        sink: Sink,
        offset: int,
        frame_format: FrameFormat,
        options: WriteOptions,
        *,
        room: int | None = None,
        advance: Advance | None = None,
    ) -> None:
        self.format = frame_format
        self.encoder: FrameEncoder | None = None
        self._sink = sink
        self._offset = offset
        self._options = options
        self._room = room
        self._advance = advance

    @property
    def count(self) -> int:
        """Frames so far."""
        return 0 if self.encoder is None else len(self.encoder.lengths)

    def write(self, container: Container) -> FrameEncoder:
        """Encode all frames of a container.

        Dask arrays are encoded by the workers of a cluster, where one is in use; else dask
        computes the next part of them while one is encoded.

        Returns
        -------
        FrameEncoder
            What encoded them, and knows where they are.

        Raises
        ------
        ValueError, TypeError
            If there is no room for them, they are not as many as announced, or a pixel can't
            be stored.
        OSError
            If the file can't be written.
        """
        announced, before = container.shape[0], self.count
        self._require_room(announced)
        client = None
        if container.is_dask:
            from .plugins.cluster import client_in_use

            client = client_in_use()
        if client is not None:
            self._write_from_workers(container, client)
        elif container.is_computed_in_parts:
            # Half as much at a time, for there are two.
            run_behind(map(list, container.slabs(SLAB_BYTES // 2)), self.write_slab)
        else:
            for slab in container.slabs():
                self.write_slab(slab)
        assert self.encoder is not None  # containers are never empty
        if announced and self.count - before != announced:  # a lazy array may not keep its word
            raise ValueError(f"{announced} frames were announced, but {self.count - before} came")
        return self.encoder

    def write_slab(self, frames: Sequence[Pixels]) -> None:
        """Encode a sequence of (ny, nx) arrays, which must fit."""
        def choose_codec(frame_format: FrameFormat, wanted: tuple[str, ...], *,
                         may_store: bool) -> CodecOptions | None:  # fmt: skip
            from .auto import choose, with_typesize

            if wanted:
                return choose(frames, frame_format, wanted, may_store=may_store)
            return with_typesize(frames, frame_format)

        self._require_room(len(frames))
        self._settled(choose_codec).write(frames)

    def _write_from_workers(self, container: Container, client: Any) -> None:
        from .plugins.cluster import encoded_by_workers

        def settle(choose_codec: Callable[..., CodecOptions | None]) -> FrameFormat:
            self._settled(choose_codec)
            return self.format

        with closing(encoded_by_workers(container, client, settle, number=self.count,
                                        exact=self._options.exact)) as parts:
            for encoded in parts:
                assert self.encoder is not None
                self.encoder.write_encoded(encoded)

    def _settled(self, choose_codec: Callable[..., CodecOptions | None]) -> FrameEncoder:
        """Return the encoder; settle first how frames are stored, if that is still to be done.

        Parameters
        ----------
        choose_codec : callable
            What decides: called as `mrcz.auto.choose` is, without its first argument, the
            frames; what is wanted may be nothing.
        """
        if self.encoder is None:
            options = self._options
            if self.format.options is not None:
                chosen = choose_codec(self.format, options.auto, may_store=not options.checksum)
                self.format = replace(self.format, options=chosen)
            self.encoder = FrameEncoder(self._sink, self._offset, self.format,
                                        threads=options.threads, exact=options.exact,
                                        checksum=options.checksum, advance=self._advance)
        return self.encoder

    def _require_room(self, count: int) -> None:
        if self._room is not None and self.count + count > self._room:
            raise ValueError(f"{self._room} frames were announced, and here come "
                             f"{self.count + count}")
