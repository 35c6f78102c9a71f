"""The life of a file, whatever is done to it in whatever order, beside an array in memory."""

from __future__ import annotations

import os
import pickle
import shutil
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import mrcz

from .processes import by_night, memory_folder

SHAPES = ((1, 1), (3, 5), (16, 16), (33, 70), (1, 3000), (300, 257))
COMPRESSORS = (None, "zstd", "lz4", "zlib", "auto")
FORMS = ("array", "list", "iterator", "single")


def pixels_of(seed: int, count: int, shape: tuple[int, int], dtype: str) -> np.ndarray:
    """Images of counts, of noise, or of one value."""
    rng, size = np.random.default_rng(seed), (count, *shape)
    if seed % 5 == 0:
        return np.full(size, seed % 7).astype(dtype)
    if dtype in ("f4", "f2", "c8"):
        return rng.standard_normal(size).astype(dtype)
    return rng.poisson(1.0, size).astype(dtype)


def handed_over(frames: np.ndarray, form: str) -> Any:
    """The same frames in one of the ways in which users have them."""
    return {"array": frames, "list": [*frames], "iterator": (frame for frame in frames),
            "single": frames[0]}[form]


class Life(RuleBasedStateMachine):
    """A file is written, grows, changes, is copied and read; `frames` is what it must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = memory_folder()
        self.path = os.path.join(self.folder, "a.mrcz")
        self.open: tuple[mrcz.Stack, np.ndarray] | None = None

    def teardown(self) -> None:
        if self.open is not None:
            self.open[0].close()
        shutil.rmtree(self.folder)

    @initialize(seed=st.integers(0, 99), count=st.integers(1, 5), shape=st.sampled_from(SHAPES),
                dtype=st.sampled_from(["i1", "i2", "u2", "i4", "u4", "f2", "f4", "c8"]),
                compressor=st.sampled_from(COMPRESSORS), endian=st.sampled_from(["le", "be"]),
                checksum=st.booleans(), streamed=st.booleans(), form=st.sampled_from(FORMS[:3]),
                meta=st.sampled_from([None, {"a": [1, 2.5, "\u00e5" * 40]}]))
    def begin(self, seed: int, count: int, shape: tuple[int, int], dtype: str,
              compressor: str | None, endian: str, checksum: bool, streamed: bool, form: str,
              meta: dict[str, Any] | None) -> None:  # fmt: skip
        self.frames = pixels_of(seed, count, shape, dtype)
        self.meta = meta
        options = {"compressor": compressor, "endian": endian, "meta": meta, "pixelsize": 2.5,
                   "checksum": checksum and compressor is not None, "n_threads": 1 + seed % 3}
        if streamed:
            with mrcz.create(self.path, (None, *shape), dtype, **options) as writer:
                for frame in self.frames:
                    writer.append(frame)
                    if seed % 2:
                        writer.flush()
        else:
            mrcz.writeMRC(handed_over(self.frames, form), self.path, **options)
        with mrcz.open(self.path) as stack:  # 'auto' may leave it as it is
            self.checksums = options["checksum"] and stack.compressor is not None

    @rule(seed=st.integers(0, 99), count=st.integers(1, 4), place=st.integers(0, 8),
          form=st.sampled_from(FORMS), backwards=st.booleans())
    def write(self, seed: int, count: int, place: int, form: str, backwards: bool) -> None:
        """Append, overwrite, or both at once."""
        place = min(place, len(self.frames))
        new = pixels_of(seed, count, self.frames.shape[1:], self.frames.dtype.str[1:])
        if form == "single":
            new = new[:1]
        idx = place - len(self.frames) if backwards and place < len(self.frames) else place
        mrcz.writeMRC(handed_over(new, form), self.path, idx=idx, n_threads=1 + seed % 3)
        self.frames = np.concatenate([self.frames[:place], new, self.frames[place + len(new):]])

    @rule(data=st.data())
    def read_one(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(-len(self.frames), len(self.frames) - 1))
        assert np.array_equal(mrcz.readMRC(self.path, idx=index)[0], self.frames[index])

    @rule(data=st.data())
    def read_range(self, data: st.DataObject) -> None:
        first = data.draw(st.integers(0, len(self.frames) - 1))
        last = data.draw(st.integers(first + 1, len(self.frames)))
        found, wanted = mrcz.readMRC(self.path, idx=(first, last))[0], self.frames[first:last]
        assert np.array_equal(np.reshape(found, wanted.shape), wanted)

    @rule(data=st.data(), by_pickle=st.booleans())
    def look_into(self, data: st.DataObject, by_pickle: bool) -> None:
        """Any part of it, of a stack that was opened just now."""
        key = tuple(data.draw(st.slices(size)) for size in self.frames.shape)
        with mrcz.open(self.path) as stack:
            again = pickle.loads(pickle.dumps(stack)) if by_pickle else stack
            assert np.array_equal(again[key], self.frames[key])
            if by_pickle:
                again.close()

    @precondition(lambda self: self.open is None)
    @rule()
    def keep_open(self) -> None:
        """A stack that is looked into later, when the file may have become another."""
        self.open = mrcz.open(self.path, cache_bytes=0), self.frames

    @precondition(lambda self: self.open is not None)
    @rule(index=st.integers(0, 3))
    def look_into_what_was_open(self, index: int) -> None:
        """It shows what it was opened on, or says that this has changed."""
        assert self.open is not None
        (stack, frames), self.open = self.open, None
        with stack:
            assume(index < len(frames))
            try:
                found = stack[index]
            except mrcz.MRCError:
                assert self.frames is not frames
                return
            choices = [frames] + [self.frames] * (index < len(self.frames))
            assert any(np.array_equal(found, each[index]) for each in choices)

    @rule(compressor=st.sampled_from(COMPRESSORS), endian=st.sampled_from(["le", "be"]))
    def copy_lazily(self, compressor: str | None, endian: str) -> None:
        """Over itself, from a stack that reads it meanwhile."""
        with mrcz.open(self.path) as stack:
            mrcz.writeMRC(stack, self.path, compressor=compressor, endian=endian, meta=self.meta,
                          pixelsize=2.5)
        self.checksums = False

    @rule()
    def mend(self) -> None:
        """There is nothing to mend: the copy has it all."""
        copy = os.path.join(self.folder, "mended.mrc")
        report = mrcz.repair(self.path, copy)
        assert report.lost == []
        found = mrcz.readMRC(copy)[0]
        assert np.array_equal(np.reshape(found, self.frames.shape), self.frames)
        os.remove(copy)

    @rule(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["flip", "cut", "zero"]))
    def damage_a_copy(self, seed: int, kind: str) -> None:
        """With checksums no frame is another one; without, nothing worse than an error."""
        copy, rng = os.path.join(self.folder, "damaged.mrcz"), np.random.default_rng(seed)
        with open(self.path, "rb") as file:
            data = bytearray(file.read())
        with mrcz.open(self.path) as stack:
            start = 1024 + stack.header["extendedBytes"]
            length = stack.header["packedBytes"] or self.frames.nbytes
        place = start + int(rng.integers(length))
        if kind == "flip":
            data[place] ^= 1 << int(rng.integers(8))
        elif kind == "cut":
            del data[place:]
        else:
            end = min(place + 40, start + length)  # the checksums themselves are left alone
            data[place:end] = bytes(end - place)
        with open(copy, "wb") as file:
            file.write(data)
        for number, frame in enumerate(self.frames):
            try:
                found = mrcz.readMRC(copy, idx=number)[0]
            except mrcz.MRCError:
                continue
            assert found.shape == frame.shape
            assert found.tobytes() == frame.tobytes() or not (self.checksums or kind == "cut")
        mrcz.verify(copy)
        os.remove(copy)

    @invariant()
    def all_is_there(self) -> None:
        found, header = mrcz.readMRC(self.path)
        assert np.array_equal(np.reshape(found, self.frames.shape), self.frames)
        assert np.allclose(header["pixelsize"], 2.5)
        assert header.meta == (self.meta or {})
        assert mrcz.verify(self.path) == []
        assert not [name for name in os.listdir(self.folder) if name != "a.mrcz"]


@pytest.mark.slow
def test_the_life_of_a_file() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(Life, settings=settings(
        max_examples=by_night(3000, 150), stateful_step_count=12, deadline=None,
        suppress_health_check=[*HealthCheck]))
