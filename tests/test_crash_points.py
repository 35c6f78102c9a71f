"""Writers that end at each of their system calls in turn, before it or halfway through it."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz
from mrcz import disk, encoding, journal, sources
from mrcz.reader import MRCReader

from .processes import by_night

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

DICE = np.random.default_rng(0)
OLD = DICE.poisson(3, (6, 40, 50)).astype("int16")
NEW = DICE.poisson(50, (3, 40, 50)).astype("int16") + 100
RAW, CHECKED = {}, {"compressor": "zstd", "checksum": True}
CALLS = ("pwrite", "ftruncate", "copy_file_range", "replace", "posix_fallocate")


def overwritten(first: int) -> np.ndarray:
    image = np.concatenate([OLD, NEW])[: max(len(OLD), first + len(NEW))]
    image[first : first + len(NEW)] = NEW
    return image


def die_at(count: int, halfway: bool) -> None:
    """Let this process end at its `count`-th call that changes a file."""
    left = [count]

    def dying(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0]:
                return real(*arguments)
            if halfway and name == "pwrite":
                real(arguments[0], memoryview(arguments[1])[: len(arguments[1]) // 2],
                     arguments[2])
            if halfway and name == "copy_file_range":
                real(*arguments[:2], arguments[2] // 2, *arguments[3:])
            os._exit(9)

        return call

    for name in CALLS:
        if hasattr(os, name):
            setattr(disk.os, name, dying(name, getattr(os, name)))


def run_until(count: int, halfway: bool, job: Callable[[], None]) -> bool:
    """Whether the job was killed, rather than done before its `count`-th call."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            die_at(count, halfway)
            job()
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9), "the writer failed"
    return status == 9


def run_for(seconds: float | None, job: Callable[[], None]) -> bool:
    """Whether the job was killed, rather than done within this time, if it had a limit."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            job()
            status = 0
        finally:
            os._exit(status)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, "the writer failed"
    return os.WIFSIGNALED(status)


def read(path: Path, checked: bool) -> np.ndarray:
    """The pixels, whole and in parts; with checksums, where the file had some."""
    for finding in mrcz.verify(path):
        assert "was interrupted" in str(finding)
    with MRCReader(path) as reader:
        assert (reader.trailer is not None) == checked
    image = mrcz.readMRC(path, slices=0)[0]
    with mrcz.open(path) as stack:
        assert np.array_equal(stack[2:5, 7:20], image[2:5, 7:20])
    return image


JOBS: dict[str, tuple[dict[str, Any], int, Callable[[Path], None]]] = {
    "overwrite": (RAW, 2, lambda path: mrcz.writeMRC(NEW, path, idx=2)),
    "overwrite and append": (RAW, 5, lambda path: mrcz.writeMRC(NEW, path, idx=5)),
    "overwrite with frames as they come":
        (RAW, 4, lambda path: mrcz.writeMRC(iter(NEW), path, idx=4)),
    "append": (RAW, 6, lambda path: mrcz.writeMRC(NEW, path, idx=6)),
    "append checked": (CHECKED, 6, lambda path: mrcz.writeMRC(NEW, path, idx=6)),
    "append a little checked":
        (CHECKED, 6, lambda path: mrcz.writeMRC(np.repeat(NEW[:1, :1, :1], 2000, 2)
                                                .reshape(1, 40, 50), path, idx=6)),
    "overwrite checked": (CHECKED, 2, lambda path: mrcz.writeMRC(NEW, path, idx=2)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("what", JOBS)
def test_old_or_new_wherever_it_ends(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    options, _, job = JOBS[what]
    original, path = tmp_path / "original", tmp_path / "a.mrcz"
    mrcz.writeMRC(OLD, original, **options)
    shutil.copy(original, path)
    job(path)
    new = read(path, bool(options))
    outcomes = set()
    for halfway in (False, True):
        count = 1
        while True:
            shutil.copy(original, path)
            if not run_until(count, halfway, lambda: job(path)):
                break
            image = read(path, bool(options))
            is_new = image.shape == new.shape and np.array_equal(image, new)
            assert is_new or (image.shape == OLD.shape and np.array_equal(image, OLD)), count
            outcomes.add(is_new)
            for left in tmp_path.glob(".*.mrcz-tmp"):
                left.unlink()
            mrcz.repair(path, tmp_path / "repaired")
            assert np.array_equal(mrcz.readMRC(tmp_path / "repaired", slices=0)[0], image)
            if image.shape == OLD.shape:  # the next write completes it, or clears it away
                mrcz.writeMRC(OLD[:1], path, idx=0)
                image = image.copy()
                image[0] = OLD[0]
            else:
                mrcz.writeMRC(NEW[:1], path, idx=len(image))
                image = np.concatenate([image, NEW[:1]])
            assert np.array_equal(mrcz.readMRC(path, slices=0)[0], image)
            assert mrcz.verify(path) == []
            count += 1
        assert count > 2
    assert False in outcomes


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_what_was_flushed_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A writer that ends after a flush leaves what was flushed, with its checksums."""
    caplog.set_level(logging.CRITICAL)
    path = tmp_path / "a.mrcz"

    def job() -> None:
        with mrcz.create(path, (None, 40, 50), "int16", **CHECKED) as writer:
            writer.append(OLD)
            writer.flush()
            writer.append(NEW)

    count, seen = 1, set()
    while run_until(count, True, job):
        if path.exists():
            image = read(path, True)
            seen.add(len(image))
            assert np.array_equal(image, np.concatenate([OLD, NEW])[: len(image)])
            path.unlink()
        count += 1
    assert seen == {6, 9}
    assert mrcz.verify(path) == []
    with pytest.raises(KeyError), mrcz.create(path, (None, 40, 50), "int16", **CHECKED) as writer:
        writer.append(OLD)
        writer.flush()
        content = path.read_bytes()
        writer.append(NEW)
        raise KeyError
    assert path.read_bytes() == content


def with_journal(path: Path, image: np.ndarray = NEW) -> bytes:
    """A file whose overwrite ended right before it came to its place."""
    mrcz.writeMRC(OLD, path)

    def die(self: object, journal: object) -> None:
        os._exit(9)

    child = os.fork()
    if child == 0:
        disk.InPlaceFile.complete = die  # type: ignore[method-assign, assignment]
        mrcz.writeMRC(image, path, idx=2)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_journal_byte_by_byte(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As docs/specification.rst has it."""
    import struct
    import zlib

    path = tmp_path / "a.mrc"
    raw = with_journal(path)
    end, frame = 1024 + OLD.nbytes, OLD[0].nbytes
    assert raw[:end] == raw[:1024] + OLD.tobytes()
    length = 3 * frame
    assert raw[end : end + 8] == b"MRCZJRNL"
    assert raw[end + 8 : end + 8 + length] == NEW.tobytes()
    record = raw[end + 8 + length : end + 1032 + length]
    facts = struct.pack("<IIQQI", 1, zlib.crc32(raw[:1024]), 1024 + 2 * frame, length,
                        zlib.crc32(NEW.tobytes() + record))
    assert raw[end + 1032 + length :] == facts + struct.pack("<I", zlib.crc32(facts)) + b"MRCZREDO"
    assert np.array_equal(mrcz.readMRC(path)[0], overwritten(2))
    assert "cut short" in caplog.text
    assert np.array_equal(mrcz.readMRC(path, useMemmap=True)[0], overwritten(2))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_journal_that_is_damaged_or_overtaken_counts_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    raw = with_journal(path)
    end = 1024 + OLD.nbytes
    places = [0, 76, end, end + 8, end + 5000, len(raw) - journal.FOOTER_BYTES - 1,
              *range(len(raw) - journal.FOOTER_BYTES, len(raw))]
    for place in places:
        damaged = bytearray(raw)
        damaged[place] ^= 4
        if place == 0:
            damaged[0] ^= 4
            damaged[80] ^= 1
        path.write_bytes(damaged)
        assert np.array_equal(mrcz.readMRC(path)[0], OLD), place
    path.write_bytes(raw[:-1])
    assert np.array_equal(mrcz.readMRC(path)[0], OLD)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_reader_keeps_what_it_opened(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also when somebody completes the change, and goes on writing."""
    caplog.set_level(logging.CRITICAL)
    path = tmp_path / "a.mrc"
    with_journal(path)
    with mrcz.open(path, cache_bytes=0) as stack:
        mrcz.writeMRC(OLD, path, idx=6)
        assert np.array_equal(stack[:], overwritten(2))
    assert np.array_equal(mrcz.readMRC(path)[0], np.concatenate([overwritten(2), OLD]))


def test_frames_in_pieces_where_a_trailer_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pieces go over a trailer so long that it stays until all is written."""
    monkeypatch.setattr(encoding, "PIECE_BYTES", 1 << 12)
    encoding._block_bytes.cache_clear()
    path = tmp_path / "a.mrcz"
    few = DICE.poisson(1, (2, 100, 120)).astype("int16")
    image = np.concatenate([np.zeros((200, 100, 120), "int16"), few])
    mrcz.writeMRC(image[:200], path, **CHECKED, blocksize=1 << 11)
    mrcz.writeMRC(image[200:201], path, idx=200, compressor="zstd", blocksize=1 << 11)
    mrcz.writeMRC(image[201:], path, idx=201, compressor="zstd", blocksize=1 << 11)
    encoding._block_bytes.cache_clear()
    assert np.array_equal(mrcz.readMRC(path)[0], image)
    assert mrcz.verify(path) == []
    with MRCReader(path) as reader:
        assert reader.trailer is not None


class Boom(Exception):
    pass


@pytest.mark.parametrize("options", [RAW, CHECKED])
@pytest.mark.parametrize("idx", [2, 6])
def test_an_overwrite_that_fails_leaves_every_byte(
    tmp_path: Path, options: dict[str, Any], idx: int
) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(OLD, path, **options)
    path.write_bytes(path.read_bytes())
    before = path.read_bytes()

    def failing() -> Any:
        yield NEW[0]
        yield NEW[1]
        raise Boom

    with pytest.raises(Boom):
        mrcz.writeMRC(failing(), path, idx=idx)
    assert path.read_bytes() == before


@pytest.mark.parametrize("call", ["pwrite", "ftruncate", "copy_file_range"])
def test_a_disk_that_fails_once_leaves_old_or_new(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever call it is that fails, and whatever the exception."""
    caplog.set_level(logging.CRITICAL)
    if not hasattr(os, call):
        return
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        for number in range(1, 40):
            path = tmp_path / "a.mrc"
            mrcz.writeMRC(OLD, path)
            real, left = getattr(os, call), [number]

            def once(*arguments: Any, real: Any = real, left: Any = left,
                     error: BaseException = error) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    raise error
                return real(*arguments)

            with monkeypatch.context() as patch:
                patch.setattr(os, call, once)
                try:
                    mrcz.writeMRC(NEW, path, idx=2)
                except (OSError, KeyboardInterrupt):
                    pass
                else:
                    assert left[0] != 0 or call == "copy_file_range"
                    if left[0] > 0:
                        break
            image = mrcz.readMRC(path)[0]
            assert np.array_equal(image, OLD) or np.array_equal(image, overwritten(2))
        else:
            pytest.fail("it never came to an end")


@pytest.mark.parametrize("options", [RAW, CHECKED, {"compressor": "lz4"}])
@pytest.mark.parametrize("first", [0, 2, 5, 6])
def test_frames_as_they_come_replace_as_many(
    tmp_path: Path, options: dict[str, Any], first: int
) -> None:
    """An iterable tells its length at its end only."""
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(OLD, path, **options)
    mrcz.writeMRC(iter(NEW), path, idx=first)
    assert np.array_equal(mrcz.readMRC(path)[0], overwritten(first))
    assert mrcz.verify(path) == []


def test_frames_as_they_come_must_find_room(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    with pytest.raises(mrcz.FrameIndexError, match="room for 3 frames"):
        mrcz.writeMRC(iter(NEW), path, idx=4, shape=(6, 40, 50))
    assert list(tmp_path.iterdir()) == []
    mrcz.writeMRC(iter(NEW), path, idx=3, shape=(6, 40, 50))
    assert np.array_equal(mrcz.readMRC(path)[0][3:], NEW)


def test_frames_of_a_file_written_over_itself(tmp_path: Path) -> None:
    """Read while they are written over, they are the old ones until all is done."""
    path = tmp_path / "a.mrc"
    for turned in (lambda stack: stack[::-1], lambda stack: (stack[5 - n] for n in range(6))):
        mrcz.writeMRC(OLD, path)
        with mrcz.open(path, cache_bytes=0) as stack:
            mrcz.writeMRC(turned(stack), path, idx=0)
        assert np.array_equal(mrcz.readMRC(path)[0], OLD[::-1])


def test_a_file_that_grows_between_its_size_and_its_header(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(OLD, path)
    source = sources.FileSource(str(path))
    mrcz.writeMRC(NEW, path, idx=6)
    with source:
        assert source.holds(path.stat().st_size)


@pytest.mark.parametrize("idx", [0, 4, 6])
@pytest.mark.parametrize("added", [0, 1, 3])
def test_a_journal_that_was_only_begun_is_cut_off(tmp_path: Path, idx: int, added: int) -> None:
    """It lies behind the frames that were to be added."""
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(OLD, path)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size + added * OLD[0].nbytes)
        file.seek(0, 2)
        file.write(b"MRCZJRNL" + bytes(range(100)) * 120)
    mrcz.writeMRC(NEW[:1], path, idx=idx)
    assert mrcz.verify(path) == []
    expected = np.concatenate([OLD, NEW[:1]])[: max(6, idx + 1)]
    expected[idx] = NEW[0]
    np.testing.assert_array_equal(mrcz.readMRC(path)[0], expected)
    assert path.stat().st_size == 1024 + expected.nbytes


@pytest.mark.parametrize("left", [NEW[:1].tobytes(), NEW.tobytes(), OLD.tobytes()])
def test_a_journal_behind_frames_of_a_killed_append_is_cut_off(
    tmp_path: Path, left: bytes
) -> None:
    """Else the next append reaches it, and leaves it behind the last frame."""
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(OLD, path)
    with open(path, "ab") as file:
        file.write(left + b"MRCZJRNL" + bytes(range(100)))
    mrcz.writeMRC(OLD[1:2], path, idx=1)
    assert path.read_bytes() == b"".join((path.read_bytes()[:1024], OLD.tobytes(), left))
    for number, frame in enumerate(NEW, len(OLD)):
        mrcz.writeMRC(frame, path, idx=number)
        assert mrcz.verify(path) == []
    assert np.array_equal(mrcz.readMRC(path)[0], np.concatenate([OLD, NEW]))


def test_a_change_of_many_pieces_reaches_its_places(tmp_path: Path) -> None:
    """What lies over bytes that count is held, and goes through the journal in pieces."""
    path, old, new = tmp_path / "a.mrc", os.urandom(1 << 20), os.urandom(700_001)
    path.write_bytes(old)
    file = disk.InPlaceFile(str(path))
    file.write_at(2000, new[:600_000])
    file.write_at(900_000, new[600_000:])  # what lies between stays
    file.commit()
    changed = old[:2000] + new[:600_000] + old[602_000:900_000] + new[600_000:]
    assert path.read_bytes() == changed + old[len(changed) :]


@pytest.mark.parametrize("surplus", [b"by others", bytes(5000) + b"by others"])
def test_what_others_put_behind_the_pixels_stays(tmp_path: Path, surplus: bytes) -> None:
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(OLD, path)
    with open(path, "ab") as file:
        file.write(surplus)
    mrcz.writeMRC(NEW[:1], path, idx=2)
    assert path.read_bytes().endswith(surplus)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("options", [RAW, CHECKED, {"compressor": "lz4"}])
def test_a_life_of_writes_and_kills(
    tmp_path: Path, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Write upon write into one file, many of them killed, none cleaned up after."""
    caplog.set_level(logging.CRITICAL)
    seed = by_night(int(time.time()), 20261121)
    dice = random.Random(seed)
    path = tmp_path / "a.mrcz"
    model, kills = OLD, 0
    mrcz.writeMRC(model, path, **options)
    for _ in range(by_night(1000, 40)):
        count, idx = dice.randint(1, 3), dice.randint(0, len(model))
        new = np.random.default_rng(dice.getrandbits(32)).integers(
            0, dice.choice((2, 200, 30_000)), (count, 40, 50)).astype("int16")
        as_they_come, fsync = dice.random() < 0.3, dice.random() < 0.2
        after = np.concatenate([model, new])[: max(len(model), idx + count)]
        after[idx : idx + count] = new

        def job() -> None:
            mrcz.writeMRC(iter(new) if as_they_come else new, path,  # noqa: B023
                          idx=idx, fsync=fsync)  # noqa: B023

        how = dice.random()
        if how < 0.3:  # where it hurts; all the others at any moment, or never
            killed = run_until(dice.randint(1, 10), dice.random() < 0.5, job)
        else:
            killed = run_for(dice.uniform(0, 0.006) if how < 0.8 else None, job)
        kills += killed
        image = read(path, "checksum" in options)
        if np.array_equal(image, after):
            model = after
        else:
            assert killed, f"seed {seed}"
            assert np.array_equal(image, model), f"seed {seed}"
        assert killed or mrcz.verify(path) == []
        for left in tmp_path.glob(".*.mrcz-tmp"):
            left.unlink()
        if len(model) > 40:
            model = OLD
            mrcz.writeMRC(model, path, **options)
    print(f"seed {seed}: {kills} kills")
