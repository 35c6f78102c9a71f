"""A mutation fuzzer: damaged files through every reader, each in a guarded process.

Mutant ``index`` of ``seed`` is always the same bytes for the same target, so a finding is
named by these two numbers. ``utils/fuzz.py`` is its command line, `test_fuzz` a short run.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import logging
import mmap
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from binascii import crc32
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import mrcz
from mrcz import checksums, decoding, headerindex, journal

from . import dm_writer as w
from .builders import DATA, ramp

ALLOWED = (mrcz.MRCError, OSError)
MEMORY_BYTES = 3 << 30
"""RLIMIT_AS of a worker; its own code and libraries take about a third."""
HANG_SECONDS = 60.0
"""Generous: shared machines stop for seconds, and a real hang does not end."""
BATCH = 400
MOST_BASE_BYTES = 40_000
INTERESTING = (0, 1, 2, -1, -2, 15, 16, 17, 127, 128, 255, 256, 1023, 1024, 4096, 65535, 65536,
               1 << 20, 1 << 24, 1 << 30, (1 << 31) - 1, -(1 << 31), -1024, 2640, 2656, 101,
               1006, 6001, 6006)  # fmt: skip


class Base(NamedTuple):
    """A good file, and the offsets where damage matters most."""

    name: str
    data: bytes
    hot: tuple[int, ...]


# --- what is mutated --------------------------------------------------------------------


def mrc_bases() -> list[Base]:
    """Golden files, and ours of every kind."""
    bases = [Base(path.name, path.read_bytes(), ()) for path in sorted((DATA / "golden").iterdir())
             if path.suffix in (".mrc", ".mrcz") and path.stat().st_size < MOST_BASE_BYTES]
    image = ramp((4, 33, 40), "i2")
    ours: dict[str, tuple[Any, dict[str, Any]]] = {
        "checksum": (image, {"compressor": "zstd", "checksum": True, "meta": {"a": [1, "b"]}}),
        "blocks": (image, {"compressor": "lz4", "blocksize": 256, "clevel": 5}),
        "blocks zstd": (image, {"compressor": "zstd", "blocksize": 512, "checksum": True}),
        "blocks split": (image.astype("f4"), {"compressor": "blosclz", "blocksize": 512,
                                              "shuffle": "shuffle", "clevel": 9}),
        "zlib": (image, {"compressor": "zlib", "blocksize": 1024, "shuffle": "noshuffle"}),
        "lz4hc": (image.astype("i4"), {"compressor": "lz4hc", "blocksize": 300}),
        "stored": (image, {"compressor": "lz4", "clevel": 0}),
        "many": (ramp((21, 9, 7), "i1"), {"compressor": "lz4"}),
        "list": (list(image), {"compressor": "zstd", "meta": {"x": 1}}),
        "volumes": ([image, image], {"compressor": "lz4", "checksum": True}),
        "raw": (image, {"meta": {"x": 1}}),
        "raw list": (list(image), {}),
        "raw be": (image, {"endian": "be"}),
        "be": (image, {"endian": "be", "compressor": "zstd", "blocksize": 512}),
        "uint4": (np.abs(image).astype("u1") % 16, {"dtype": "uint4", "compressor": "zstd"}),
        "raw uint4": (np.abs(image[..., :39]).astype("u1") % 16, {"dtype": "uint4"}),
        "complex": (image.astype("c8"), {"compressor": "zstd", "blocksize": 1024}),
        "half": (image.astype("f2"), {"compressor": "zstd"}),
        "blosc2": (image, {"compressor": "zstd", "backend": "blosc2"}),
    }
    for name, (pixels, options) in ours.items():
        if options.get("backend") and not mrcz.ioMRC.BLOSC2_PRESENT:
            continue
        file = io.BytesIO()
        mrcz.writeMRC(pixels, file, n_threads=1, **options)
        bases.append(Base(name, file.getvalue(), ()))
    for name in ("raw", "checksum"):
        data = next(base.data for base in bases if base.name == name)
        bases.append(Base(f"journal {name}", with_journal(data), ()))
    return [base._replace(hot=_hot_places(base.data)) for base in bases]


def with_journal(data: bytes) -> bytes:
    """A file with a change to complete, of its second half."""
    offset = max(1024, len(data) // 2)
    body = data[:offset:-1] + bytes([data[offset]])
    sound = journal.Journal(len(data), offset, len(body), zlib.crc32(data[:1024]),
                            zlib.crc32(body + data[:1024]))
    return data + journal.MAGIC + body + data[:1024] + sound.pack()


def _hot_places(data: bytes) -> tuple[int, ...]:
    """Offsets of the words of header, chunk headers, block tables and trailer."""
    places = [0, 4, 8, 12, 28, 32, 36, 40, 44, 48, 64, 68, 72, 88, 92, 104, 108, 144, 148, 152,
              156, *range(160, 196, 4), 208, 212, 220, 224, 228, 304]
    if len(data) < 1024:
        return tuple(places)
    position = 1024 + max(0, struct.unpack_from("<i", data, 92)[0])
    while position + 16 <= len(data):
        nbytes, blocksize, cbytes = struct.unpack_from("<3i", data, position + 4)
        if not 16 <= cbytes <= len(data) - position or blocksize < 1 or data[position] > 5:
            break
        places += range(position, position + 16, 4)
        places += range(position + 16, min(position + 16 + 4 * -(-nbytes // blocksize),
                                           position + cbytes), 4)
        position += cbytes
    places += range(position, min(len(data) - 3, position + 128), 4)
    if data.endswith(journal.END_MAGIC):
        places += range(len(data) - journal.FOOTER_BYTES, len(data) - 3, 4)
    return tuple(places)


def dm_bases() -> list[Base]:
    """DM3 and DM4 files in both byte orders."""
    movie = np.arange(3 * 4 * 5, dtype="i2").reshape(3, 4, 5)
    tags = {"text": w.text("some text"), "struct": w.struct_of([3, 6], [1, 2]),
            "rows": w.array_of_structs([2, 7], [(1, 2.0), (3, 4.0)]), "string": w.string18("h"),
            "list": [w.int32(1), w.boolean(True)], "empty": {}, "bytes": w.array(10, [1, 2, 3])}
    images = {"movie": movie, "float": movie.astype("f4")[0], "complex": movie.astype("c8")[0],
              "bool": movie[0] % 2 == 1}
    bases = []
    for name, pixels in images.items():
        for version in (3, 4):
            for order in "<>":
                data = w.dm_bytes(w.document(w.image_of(pixels, tags=tags)), version, order)
                bases.append(Base(f"{name} {version}{order}", data, tuple(range(0, len(data), 4))))
    return bases


# --- mutation ---------------------------------------------------------------------------


def mutate(bases: list[Base], rng: random.Random) -> tuple[str, bytes]:
    """One to six changes to one of the files."""
    base = rng.choice(bases)
    data = bytearray(base.data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 6))):
        rng.choice(_CHANGES)(data, base, bases, rng)
        if not data:
            break
    if rng.random() < 0.05:
        data = bytearray(gzip.compress(bytes(data), 1))
        if rng.random() < 0.5:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return base.name, bytes(data)


def _flip(data: bytearray, base: Base, bases: list[Base], rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _hot_byte(data: bytearray, base: Base, bases: list[Base], rng: random.Random) -> None:
    place = rng.choice(base.hot) + rng.randrange(4)
    if place < len(data):
        data[place] = rng.randrange(256)


def _hot_word(data: bytearray, base: Base, bases: list[Base], rng: random.Random) -> None:
    place = rng.choice(base.hot)
    if place + 4 <= len(data):
        old = struct.unpack_from("<i", data, place)[0]
        value = rng.choice((rng.choice(INTERESTING), old + rng.randint(-3, 3), -old, old * 2,
                            rng.randint(-(1 << 31), (1 << 31) - 1), rng.randrange(len(data))))
        struct.pack_into(rng.choice("<<<>") + "I", data, place, value & 0xFFFFFFFF)


def _cut(data: bytearray, base: Base, bases: list[Base], rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _remove(data: bytearray, base: Base, bases: list[Base], rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 2, 4, 16, 256, 2000))]


def _insert(data: bytearray, base: Base, bases: list[Base], rng: random.Random) -> None:
    place = rng.randrange(len(data) + 1)
    count = rng.choice((1, 4, 16, 300))
    data[place:place] = rng.choice((rng.randbytes(count), bytes(count), b"\xff" * count))


def _copy_within(data: bytearray, base: Base, bases: list[Base], rng: random.Random) -> None:
    start, place = rng.randrange(len(data)), rng.randrange(len(data))
    piece = data[start : start + rng.choice((4, 16, 64, 700))]
    data[place : place + len(piece)] = piece


def _splice(data: bytearray, base: Base, bases: list[Base], rng: random.Random) -> None:
    other = rng.choice(bases).data
    place = rng.choice((1024, rng.randrange(len(data))))
    data[place:] = other[place:]


def _noise(data: bytearray, base: Base, bases: list[Base], rng: random.Random) -> None:
    start = rng.randrange(len(data))
    stop = min(len(data), start + rng.choice((4, 16, 100)))
    data[start:stop] = rng.randbytes(stop - start)


def _seal(data: bytearray, base: Base, bases: list[Base], rng: random.Random) -> None:
    """Change the header's index or the trailer, and make its checksum right again."""
    if len(data) < 1024:
        return
    if data.endswith(journal.END_MAGIC):
        _seal_journal(data, rng)
        return
    if rng.random() < 0.5:
        _seal_index(data, rng)
        return
    start, end = data.rfind(b"MRCZTRLR"), data.rfind(b"MRCZTEND")
    if 0 < start < end - 16:
        place = start + rng.randrange(8, end - 8 - start)
        data[place] = rng.randrange(256)
        struct.pack_into("<Q", data, end - 8, checksums.hash_of(bytes(data[start : end - 8])))


def _seal_index(data: bytearray, rng: random.Random) -> None:
    """Change how many bytes the entries of the header's index have, or one of them."""
    start = data.find(headerindex._MAGIC, 224, 1024 - headerindex._HEAD.size)
    if start < 0:
        return
    (nz,), (packed,) = struct.unpack_from("<i", data, 8), struct.unpack_from("<q", data, 144)
    first = start + headerindex._HEAD.size
    itemsize = headerindex._HEAD.unpack_from(data, start)[2]
    if itemsize not in headerindex._CODES or rng.random() < 0.1:
        itemsize = rng.choice(list(headerindex._CODES))
    count = len(headerindex._frames(nz, (1024 - first) // itemsize))
    if count:
        place = first + itemsize * rng.randrange(count)
        old = int.from_bytes(data[place : place + itemsize], "little")
        new = rng.choice((0, old + 1, old - 16, 16, 1 << 8 * itemsize - 1,
                          rng.randrange(len(data))))
        data[place : place + itemsize] = (new % (1 << 8 * itemsize)).to_bytes(itemsize, "little")
    entries = bytes(data[first : first + count * itemsize])
    check = crc32(headerindex._CHECKED.pack(nz, packed, itemsize) + entries)
    headerindex._HEAD.pack_into(data, start, headerindex._MAGIC, check, itemsize)


def _seal_journal(data: bytearray, rng: random.Random) -> None:
    """Change where a journal's bytes belong, or how many they are, or the bytes."""
    footer = len(data) - journal.FOOTER_BYTES
    _, old_record, offset, length, _ = struct.unpack_from("<IIQQI", data, footer)
    if rng.random() < 0.5:
        offset = rng.choice((0, 1023, 1024, 1 << 40, (1 << 64) - 1, rng.randrange(len(data))))
    if rng.random() < 0.5:
        length = rng.choice((0, 1, 1 << 40, (1 << 64) - 1, rng.randrange(len(data))))
    start = footer - 1024 - length
    if rng.random() < 0.5:
        old_record = zlib.crc32(data[:1024])
    if start >= 8:
        data[start - 8 : start] = journal.MAGIC
    facts = struct.pack("<IIQQI", 1, old_record, offset, length,
                        zlib.crc32(data[max(0, start) : footer]))
    data[footer:] = facts + struct.pack("<I", zlib.crc32(facts)) + journal.END_MAGIC


_CHANGES = (_flip, _flip, _hot_byte, _hot_byte, _hot_word, _hot_word, _hot_word, _cut, _remove,
            _insert, _copy_within, _splice, _noise, _seal)  # fmt: skip


# --- targets ----------------------------------------------------------------------------


class Wrong(AssertionError):
    """Two ways to read the same pixels differ."""


def read_whole(path: str, rng: random.Random) -> None:
    image, header = mrcz.readMRC(path, n_threads=rng.choice((1, 1, 2)),
                                 useMemmap=rng.random() < 0.1)
    repr(header)
    np.shape(image)


def read_rows(path: str, rng: random.Random) -> None:
    """Rows, alone and as part of frames, are the same pixels."""
    with mrcz.open(path, n_threads=1) as stack:
        nz, ny = stack.shape[:2]
        if stack.nbytes > 1 << 26:
            stack[0, :1, :1]
            return
        frame = rng.randrange(nz)
        first = rng.randrange(ny)
        rows = stack[frame, first : first + rng.randint(1, ny)]
        stack[:: rng.choice((1, 2, -1)), ny // 2]
        whole = stack[frame]
        if whole[first : first + len(rows)].tobytes() != rows.tobytes():
            raise Wrong(f"frame {frame}, rows {first}+{len(rows)}")


def verify(path: str, rng: random.Random) -> None:
    for finding in mrcz.verify(path, deep=rng.random() < 0.8, n_threads=1):
        str(finding)


def repair(path: str, rng: random.Random) -> None:
    """What was repaired can be read."""
    output = path + ".repaired"
    try:
        report = mrcz.repair(path, output)
        if os.path.getsize(output) < 1 << 26:
            try:
                mrcz.readMRC(output, n_threads=1, slices=0)
            except mrcz.MRCError as error:
                raise Wrong(f"repaired ({report.notes}), but {error}") from error
    finally:
        if os.path.exists(output):
            os.unlink(output)


def update(path: str, rng: random.Random) -> None:
    """Frames written into a damaged file; arguments that don't fit it are refused."""
    header = mrcz.readMRCHeader(path)[0]
    nz, ny, nx = (int(size) for size in header["dimensions"])
    if ny * nx > 1 << 20 or nz > 1 << 16:
        return
    with contextlib.suppress(ValueError, TypeError):
        mrcz.writeMRC(np.zeros((1, ny, nx), "i1"), path, idx=rng.choice((0, nz - 1, nz)),
                      n_threads=1)


def read_dm(path: str, rng: random.Random) -> None:
    dm = mrcz.readDM4(path, permissive=rng.random() < 0.5)
    repr(dm.tags)
    for image in dm.im:
        with contextlib.suppress(*ALLOWED):
            np.shape(image.read())


TARGETS: dict[str, tuple[Callable[[str, random.Random], None], int]] = {
    "readMRC": (read_whole, 4), "rows": (read_rows, 4), "verify": (verify, 2),
    "repair": (repair, 2), "update": (update, 1), "readDM4": (read_dm, 3),
}  # fmt: skip
"""Function and weight in a mixed run."""


class Fuzzer:
    """Makes mutants and tries them; `run` does so in guarded processes."""

    def __init__(self, seed: int, target: str = "all") -> None:
        self.seed = seed
        names = list(TARGETS) if target == "all" else [target]
        self._names = [name for name in names for _ in range(TARGETS[name][1])]
        self._mrc = mrc_bases()
        self._dm = dm_bases()

    def mutant(self, index: int) -> tuple[str, str, bytes, random.Random]:
        """Target, base, bytes, and the dice that the target goes on with."""
        rng = random.Random(f"{self.seed}:{index}")
        target = rng.choice(self._names)
        base, data = mutate(self._dm if target == "readDM4" else self._mrc, rng)
        return target, base, data, rng

    def try_one(self, index: int, folder: str) -> dict[str, Any] | None:
        """Try a mutant; what went wrong, if anything did."""
        target, base, data, rng = self.mutant(index)
        path = os.path.join(folder, "mutant")
        with open(path, "wb") as file:
            file.write(data)
        piece = rng.choice((decoding.PIECE_BYTES, 1 << 10))
        before, decoding.PIECE_BYTES = decoding.PIECE_BYTES, piece
        try:
            TARGETS[target][0](path, rng)
        except ALLOWED as error:
            if not str(error):
                return self._finding(index, target, base, "error without text", "")
        except BaseException as error:
            kind = f"{type(error).__name__}: {error}"
            return self._finding(index, target, base, kind, traceback.format_exc(limit=-6))
        finally:
            decoding.PIECE_BYTES = before
        return None

    def _finding(self, index: int, target: str, base: str, kind: str, trace: str
                 ) -> dict[str, Any]:  # fmt: skip
        return {"seed": self.seed, "index": index, "target": target, "base": base,
                "kind": kind[:300], "trace": trace}

    # Processes.

    def run(self, count: int, *, jobs: int = 1, start: int = 0,
            seconds: float | None = None, show: bool = False) -> dict[str, Any]:
        """Try `count` mutants, or as many as the time allows."""
        began, findings, done = time.monotonic(), [], 0
        queue = [(first, min(first + BATCH, start + count))
                 for first in range(start, start + count, BATCH)][::-1]
        workers: list[_Worker] = []
        root = tempfile.mkdtemp(prefix="mrcz-fuzz", dir="/dev/shm" if os.path.isdir("/dev/shm")
                                else None)  # fmt: skip
        try:
            while queue or workers:
                late = seconds is not None and time.monotonic() - began > seconds
                if late:
                    queue.clear()
                while queue and len(workers) < jobs:
                    workers.append(_Worker(self, *queue.pop(), root))
                time.sleep(0.02)
                for worker in list(workers):
                    outcome = worker.poll()
                    if outcome is None:
                        continue
                    workers.remove(worker)
                    done += outcome.tried
                    findings += outcome.findings
                    if outcome.rest:
                        queue.append(outcome.rest)
                    if show:
                        print(f"{done} mutants, {len(findings)} findings", file=sys.stderr)
        finally:
            for worker in workers:
                worker.kill()
            shutil.rmtree(root, ignore_errors=True)
        return {"seed": self.seed, "start": start, "mutants": done,
                "seconds": round(time.monotonic() - began, 1), "findings": findings}


class _Outcome(NamedTuple):
    tried: int
    findings: list[dict[str, Any]]
    rest: tuple[int, int] | None


class _Worker:
    """A forked process with little memory that tries a range of mutants."""

    def __init__(self, fuzzer: Fuzzer, first: int, last: int, root: str) -> None:
        self._fuzzer, self._first, self._last = fuzzer, first, last
        self._folder = tempfile.mkdtemp(dir=root)
        self._at = mmap.mmap(-1, 8)  # which mutant is being tried
        self._at[:] = struct.pack("<q", first)
        self._seen, self._since = first, time.monotonic()
        self._hung = False
        self._pid = os.fork()
        if self._pid == 0:
            status = 1
            try:
                self._work()
                status = 0
            finally:
                os._exit(status)

    def _work(self) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        logging.disable(logging.CRITICAL)
        warnings.simplefilter("ignore")
        with open(os.path.join(self._folder, "findings"), "w", encoding="utf-8") as log:
            for index in range(self._first, self._last):
                self._at[:] = struct.pack("<q", index)
                finding = self._fuzzer.try_one(index, self._folder)
                if finding:
                    log.write(json.dumps(finding) + "\n")
                    log.flush()

    def poll(self) -> _Outcome | None:
        """What came out, once the process has ended."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        index = struct.unpack("<q", self._at[:])[0]
        if pid == 0:
            if index != self._seen:
                self._seen, self._since = index, time.monotonic()
            elif time.monotonic() - self._since > HANG_SECONDS:
                self._hung = True
                os.kill(self._pid, signal.SIGKILL)
            return None
        self._pid = 0
        with open(os.path.join(self._folder, "findings"), encoding="utf-8") as log:
            findings = [json.loads(line) for line in log]
        shutil.rmtree(self._folder, ignore_errors=True)
        if status == 0:
            return _Outcome(self._last - self._first, findings, None)
        what = "hang" if self._hung else f"process ended with {os.waitstatus_to_exitcode(status)}"
        target, base, _, _ = self._fuzzer.mutant(index)
        findings.append(self._fuzzer._finding(index, target, base, what, ""))
        rest = (index + 1, self._last) if index + 1 < self._last else None
        return _Outcome(index + 1 - self._first, findings, rest)

    def kill(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def main(argv: list[str] | None = None) -> int:
    """The command line of utils/fuzz.py."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="mutants to try (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the dice (%(default)s)")
    parser.add_argument("--start", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--target", choices=["all", *TARGETS], default="all")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (%(default)s)")
    parser.add_argument("--seconds", type=float, help="stop after this time")
    parser.add_argument("--output", type=Path, help="folder for the mutants that were found")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args(argv)
    fuzzer = Fuzzer(options.seed, options.target)
    report = fuzzer.run(options.count, jobs=options.jobs, start=options.start,
                        seconds=options.seconds, show=options.verbose)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        for finding in report["findings"]:
            name = f"{finding['target']}-{finding['seed']}-{finding['index']}"
            (options.output / name).write_bytes(fuzzer.mutant(finding["index"])[2])
    print(json.dumps(report, indent=1))
    return 1 if report["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
