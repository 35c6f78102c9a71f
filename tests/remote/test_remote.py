"""Files by their URLs: what is fetched, what goes wrong, what is uploaded."""

from __future__ import annotations

import gc
import gzip
import http.server
import os
import pickle
import re
import signal
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import mrcz

MOVIE = np.random.default_rng(4).poisson(3, (100, 128, 256)).astype("int16")  # 64 KiB a frame


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    files = fsspec.filesystem("memory")
    yield files
    files.store.clear()


@pytest.fixture
def fetched(memory, monkeypatch) -> list[tuple[int, int]]:
    """The ranges that are asked for."""
    ranges: list[tuple[int, int]] = []
    real = MemoryFileSystem.cat_file

    def cat_file(self, path, start=None, end=None, **kwargs):
        ranges.append((start, end))
        return real(self, path, start=start, end=end, **kwargs)

    def refuse(self, *args, **kwargs):
        raise AssertionError("the whole file is opened")

    monkeypatch.setattr(MemoryFileSystem, "cat_file", cat_file)
    monkeypatch.setattr(MemoryFileSystem, "_open", refuse)
    return ranges


def put(memory, tmp_path: Path, image=MOVIE, name="a.mrcz", index=True, **options) -> bytes:
    mrcz.writeMRC(image, tmp_path / name, **options)
    data = (tmp_path / name).read_bytes()
    if not index:  # as by python-mrcz
        data = data[:304] + bytes(720) + data[1024:]
        (tmp_path / name).write_bytes(data)
        assert not mrcz.readMRCHeader(tmp_path / name)[0].record.index
    with memory.open(f"/{name}", "wb") as file:
        file.write(data)
    return data


def nbytes(ranges) -> int:
    return sum(end - start for start, end in ranges)


@pytest.fixture
def put_file(memory, tmp_path):
    return lambda *args, **options: put(memory, tmp_path, *args, **options)


def frame_lengths(path) -> list[int]:
    with mrcz.open(path) as stack:
        table = stack._reader.table
        return [stop - start for start, stop in map(table.span, range(len(stack)))]


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("number", [0, 1, 50, 99])
def test_one_frame_of_small_chunks(put_file, request, tmp_path, number, index):
    data = put_file(compressor="zstd", meta={"a": 1}, index=index)
    lengths = frame_lengths(tmp_path / "a.mrcz")
    fetched = request.getfixturevalue("fetched")
    with mrcz.open("memory://a.mrcz") as stack:
        assert np.array_equal(stack[number], MOVIE[number])
        assert stack.meta == {"a": 1}
    if index:  # the header, the frame
        assert len(fetched) == 2
        assert nbytes(fetched) <= 4096 + lengths[number]
    else:  # the headers of the chunks up to this one, together
        assert len(fetched) <= 4
        assert nbytes(fetched) <= 8192 + max(sum(lengths[:number]) * 1.1, 65536) + lengths[number]
    assert max(end for _, end in fetched) <= len(data)


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("number", [0, 3, 8])
def test_one_frame_of_large_chunks(put_file, request, tmp_path, number, index):
    movie = np.random.default_rng(0).poisson(9, (9, 1024, 1024)).astype("int16")
    put_file(movie, compressor="zstd", index=index)
    lengths = frame_lengths(tmp_path / "a.mrcz")
    assert min(lengths) > 1 << 19
    fetched = request.getfixturevalue("fetched")
    with mrcz.open("memory://a.mrcz") as stack:
        assert np.array_equal(stack[number], movie[number])
    walked = 0 if index else number + 1
    assert len(fetched) <= 1 + walked + 1
    assert nbytes(fetched) <= lengths[number] + 4096 * (1 + walked)


def test_some_rows_fetch_no_whole_frame(put_file, request):
    movie = np.random.default_rng(0).poisson(9, (2, 2048, 2048)).astype("int16")
    data = put_file(movie, compressor="zstd")
    fetched = request.getfixturevalue("fetched")
    with mrcz.open("memory://a.mrcz") as stack:
        assert np.array_equal(stack[0, 900:960], movie[0, 900:960])
    assert nbytes(fetched) < len(data) / 8 + (1 << 13)  # one block of eight
    assert len(fetched) <= 3


def test_raw_frames_fetch_their_bytes_alone(put_file, request):
    put_file()
    fetched = request.getfixturevalue("fetched")
    with mrcz.open("memory://a.mrcz") as stack:
        assert np.array_equal(stack[70], MOVIE[70])
    assert nbytes(fetched) <= 4096 + MOVIE[0].nbytes
    assert len(fetched) == 2


def test_frames_of_the_walk_are_remembered(put_file, request):
    put_file(compressor="zstd")
    fetched = request.getfixturevalue("fetched")
    with mrcz.open("memory://a.mrcz", cache_bytes=0) as stack:
        stack[90]
        stack[45]
        before = len(fetched)
        stack[44]
        assert len(fetched) <= before + 1


@pytest.mark.parametrize("compressor", [None, "zstd", "lz4"])
def test_everything_that_reads_takes_urls(put_file, compressor):
    put_file(compressor=compressor, meta={"a": [1, 2]})
    image, header = mrcz.readMRC("memory://a.mrcz")
    assert np.array_equal(image, MOVIE)
    assert header["a"] == [1, 2]
    assert np.array_equal(mrcz.readMRC("memory://a.mrcz", idx=(3, 5))[0], MOVIE[3:5])
    assert mrcz.readMRCHeader("memory://a.mrcz")[0]["compressor"] == compressor
    lazy, _ = mrcz.readMRC("memory://a.mrcz", useMemmap=True)
    assert isinstance(lazy, mrcz.Stack)


def test_a_compressed_stream_is_read(memory, put_file):
    data = put_file(name="b.mrc")
    with memory.open("/a.mrc.gz", "wb") as file:
        file.write(gzip.compress(data, 1))
    with mrcz.open("memory://a.mrc.gz") as stack:
        assert np.array_equal(stack[60], MOVIE[60])


def test_file_urls_are_paths(tmp_path):
    mrcz.writeMRC(MOVIE, f"file://{tmp_path}/a.mrcz", compressor="zstd")
    assert [file.name for file in tmp_path.iterdir()] == ["a.mrcz"]
    assert np.array_equal(mrcz.readMRC(f"file://{tmp_path}/a.mrcz")[0], MOVIE)
    mrcz.writeMRC(MOVIE, tmp_path / "a b%20c.mrc")
    mapped = mrcz.readMRC(f"file://{tmp_path}/a b%20c.mrc", useMemmap=True)[0]
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, MOVIE)


class Place(os.PathLike):
    """As other packages have for URLs."""

    def __fspath__(self) -> str:
        return "memory://a.mrcz"


@pytest.mark.parametrize("url", ["memory://a.mrcz", b"memory://a.mrcz", Place()])
def test_urls_of_every_kind_are_read_in_the_background(put_file, url):
    put_file(compressor="zstd")
    assert np.array_equal(mrcz.readMRC(url, idx=3)[0], MOVIE[3])
    assert np.array_equal(mrcz.asyncReadMRC(url, idx=3).result()[0], MOVIE[3])


def test_a_file_url_is_repaired_and_never_into_itself(tmp_path):
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE, path, compressor="zstd")
    with pytest.raises(ValueError, match="must not be the damaged one"):
        mrcz.repair(f"file://{path}", path)
    (tmp_path / "b.mrcz").write_bytes(b"in its way")
    assert not mrcz.repair(f"file://{path}", tmp_path / "b.mrcz").lost
    assert np.array_equal(mrcz.readMRC(tmp_path / "b.mrcz")[0], MOVIE)


def test_pickles_and_notices_change(put_file):
    put_file(compressor="zstd")
    with mrcz.open("memory://a.mrcz") as stack:
        token = stack.__dask_tokenize__()
        data = pickle.dumps(stack)
        with pickle.loads(data) as again:
            assert np.array_equal(again[5], MOVIE[5])
    put_file(MOVIE + np.int16(1), compressor="zstd")
    with pytest.raises(mrcz.MRCError, match="changed"):
        pickle.loads(data)[5]
    with mrcz.open("memory://a.mrcz") as stack:
        assert stack.__dask_tokenize__() != token


def test_cut_while_it_is_open(memory, put_file):
    data = put_file(compressor="zstd")
    with mrcz.open("memory://a.mrcz") as stack:
        stack[0]
        memory.pipe_file("/a.mrcz", data[:5000])
        with pytest.raises((mrcz.MRCTruncatedError, OSError), match=r"memory://a\.mrcz"):
            stack[60]


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_files_are_uploaded_when_they_are_whole(memory, tmp_path, compressor, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mrcz.writeMRC(MOVIE, "memory://folder/a.mrcz", compressor=compressor)
    assert np.array_equal(mrcz.readMRC("memory://folder/a.mrcz")[0], MOVIE)
    with mrcz.create("memory://b.mrcz", (None, *MOVIE.shape[1:]), "int16",
                     compressor=compressor) as writer:
        writer.append(MOVIE[:10])
        assert not memory.exists("/b.mrcz")
        writer.flush()
        assert np.array_equal(mrcz.readMRC("memory://b.mrcz")[0], MOVIE[:10])
        writer.append(MOVIE[10:])
    assert np.array_equal(mrcz.readMRC("memory://b.mrcz")[0], MOVIE)
    with pytest.raises(KeyError), mrcz.create("memory://b.mrcz", MOVIE.shape, "int16") as writer:
        writer.append(MOVIE[:10])
        raise KeyError
    assert np.array_equal(mrcz.readMRC("memory://b.mrcz")[0], MOVIE)
    with mrcz.open("memory://b.mrcz") as stack:
        mrcz.writeMRC(stack, "memory://b.mrcz", compressor="lz4")
    assert np.array_equal(mrcz.readMRC("memory://b.mrcz")[0], MOVIE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_written_on_after_frames_that_were_refused(memory, compressor):
    with mrcz.create("memory://a.mrcz", (None, 128, 256), "int16", compressor=compressor) as writer:
        writer.append(MOVIE[:10])
        with pytest.raises(ValueError, match="frame 59"):
            writer.append(np.concatenate([MOVIE[:49].astype("int32"),
                                          np.full((1, 128, 256), 1 << 20, "int32")]))
        writer.append(MOVIE[10:12])
    assert np.array_equal(mrcz.readMRC("memory://a.mrcz")[0], MOVIE[:12])
    assert mrcz.verify("memory://a.mrcz") == []
    packed = mrcz.readMRCHeader("memory://a.mrcz")[0]["packedBytes"]
    assert memory.size("/a.mrcz") == 1024 + (packed or MOVIE[:12].nbytes)


def test_a_failed_upload_names_the_url(memory, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def put_file(self, *args, **kwargs):
        raise RuntimeError("the bucket is full")

    monkeypatch.setattr(MemoryFileSystem, "put_file", put_file)
    with pytest.raises(OSError, match=r"full.*memory://a\.mrcz"):
        mrcz.writeMRC(MOVIE, "memory://a.mrcz")
    assert not list(tmp_path.iterdir())


def test_errors_name_the_url(memory, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"memory://none\.mrc"):
        mrcz.open("memory://none.mrc")
    with pytest.raises(ValueError, match=r"nosuch://a\.mrc"):
        mrcz.open("nosuch://a.mrc")
    with pytest.raises(ImportError, match=r"s3://bucket/a\.mrc"):  # s3fs is not installed here
        mrcz.open("s3://bucket/a.mrc")
    with pytest.raises(ValueError, match="on disk"):
        mrcz.writeMRC(MOVIE, "memory://a.mrc", idx=0)
    monkeypatch.setitem(__import__("sys").modules, "fsspec.core", None)
    with pytest.raises(mrcz.MissingCodecError, match=re.escape("mrcz[remote]")):
        mrcz.open("memory://a.mrc")


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves ranges, as real servers do and Python's doesn't, and counts."""

    sent: list[int]
    knows_ranges = True
    dates = True
    tags = False

    def send_header(self, keyword, value):
        if keyword != "Last-Modified" or self.dates:
            super().send_header(keyword, value)

    def end_headers(self):
        if self.tags:
            self.send_header("ETag", self.tag())
        super().end_headers()

    def tag(self):
        return f'"{zlib.crc32((Path(self.directory) / self.path.lstrip("/")).read_bytes()):x}"'

    def do_GET(self):
        if self.tags and self.headers.get("If-Match", self.tag()) != self.tag():
            self.send_error(412)
            return
        data = (Path(self.directory) / self.path.lstrip("/")).read_bytes()
        wanted = self.headers.get("Range")
        if wanted and self.knows_ranges:
            first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", wanted).groups())
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            data = data[first : last + 1]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.sent.append(len(data))

    def log_message(self, *args):
        pass


@contextmanager
def serving(tmp_path: Path, **options: bool) -> Iterator[tuple[str, list[int]]]:
    sent: list[int] = []
    kind = type("Handler", (_Handler,), {"sent": sent, **options})

    def handler(*args):
        return kind(*args, directory=str(tmp_path))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}", sent
        finally:
            httpd.shutdown()
            thread.join()


@pytest.fixture
def server(tmp_path, request):
    with serving(tmp_path, knows_ranges=getattr(request, "param", True)) as served:
        yield served


def test_ranges_are_asked_of_http(server, tmp_path):
    url, sent = server
    mrcz.writeMRC(MOVIE, tmp_path / "a.mrcz", compressor="zstd")
    size = (tmp_path / "a.mrcz").stat().st_size
    with mrcz.open(f"{url}/a.mrcz") as stack:
        assert np.array_equal(stack[9], MOVIE[9])
        assert sum(sent) < size / 4
        assert len(sent) <= 4
        assert np.array_equal(stack[:], MOVIE)
    with pytest.raises(FileNotFoundError, match=re.escape(f"{url}/none.mrcz")):
        mrcz.open(f"{url}/none.mrcz")


@pytest.mark.parametrize("server", [False], indirect=True)
def test_http_servers_without_ranges_do(server, tmp_path):
    url, _ = server
    mrcz.writeMRC(MOVIE, tmp_path / "a.mrcz", compressor="zstd")
    with mrcz.open(f"{url}/a.mrcz") as stack:
        assert np.array_equal(stack[9], MOVIE[9])


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("server", [False], indirect=True)
def test_servers_without_ranges_send_a_file_once(server, tmp_path, compressor, monkeypatch):
    monkeypatch.setattr("mrcz.scratch._MOST_IN_MEMORY", 1 << 16)
    movie = np.random.default_rng(0).poisson(9, (9, 1024, 1024)).astype("int16")
    url, sent = server
    mrcz.writeMRC(movie, tmp_path / "a.mrcz", compressor=compressor)
    stack = mrcz.open(f"{url}/a.mrcz", cache_bytes=0)
    assert np.array_equal(stack[:], movie)
    assert np.array_equal(stack[7, 100:200], movie[7, 100:200])
    assert sent == [(tmp_path / "a.mrcz").stat().st_size]
    del stack  # without a warning of a temporary file that nobody closes
    gc.collect()


@pytest.mark.parametrize("options", [{}, {"tags": True}, {"tags": True, "dates": False}])
def test_a_change_on_a_server_is_noticed(tmp_path, options):
    path = tmp_path / "a.mrc"
    with serving(tmp_path, **options) as (url, _):
        mrcz.writeMRC(MOVIE, path)
        os.utime(path, (1e9, 1e9))
        with mrcz.open(f"{url}/a.mrc") as stack:
            token, data = stack.__dask_tokenize__(), pickle.dumps(stack)
        mrcz.writeMRC(MOVIE + np.int16(1), path)  # of the same length
        with mrcz.open(f"{url}/a.mrc") as stack:
            assert stack.__dask_tokenize__() != token
        with pytest.raises(mrcz.MRCError, match="changed"):
            pickle.loads(data)[5]


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_parts_of_two_files_are_not_mixed(tmp_path, compressor):
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE, path, compressor=compressor)
    with serving(tmp_path, tags=True) as (url, _), mrcz.open(f"{url}/a.mrcz") as stack:
        assert np.array_equal(stack[5], MOVIE[5])
        mrcz.writeMRC(MOVIE + np.int16(1), path, compressor=compressor)
        with pytest.raises(mrcz.MRCError, match=re.escape(f"{url}/a.mrcz has changed")):
            stack[60]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system doesn't fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", ["a.mrcz", "a.mrc", "a.mrc.gz"])
def test_a_forked_process_reads_on(server, tmp_path, name):
    url, _ = server
    mrcz.writeMRC(MOVIE, tmp_path / "a.mrcz", compressor="zstd")
    mrcz.writeMRC(MOVIE, tmp_path / "a.mrc")
    (tmp_path / "a.mrc.gz").write_bytes(gzip.compress((tmp_path / "a.mrc").read_bytes(), 1))
    with mrcz.open(f"{url}/{name}") as stack:
        assert np.array_equal(stack[3], MOVIE[3])
        child = os.fork()
        if not child:
            signal.alarm(60)  # rather than to wait for a thread that was left behind
            code = 1
            try:
                code = 0 if np.array_equal(stack[90], MOVIE[90]) else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert np.array_equal(stack[91], MOVIE[91])


def test_archives_on_servers(server, tmp_path):
    url, _ = server
    mrcz.writeMRC(MOVIE, tmp_path / "a.mrcz", compressor="zstd")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.mrcz", "in/a.mrcz")
    inside = f"zip://in/a.mrcz::{url}/a.zip"
    assert np.array_equal(mrcz.readMRC(inside, idx=5)[0], MOVIE[5])
    (tmp_path / "b.zip").write_bytes(bytes(5000))
    for archive, error in [("none", FileNotFoundError), ("b", OSError)]:
        inside = f"zip://in/a.mrcz::{url}/{archive}.zip"
        with pytest.raises(error, match=re.escape(inside)):
            mrcz.open(inside)


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(OSError, match=r"http://127\.0\.0\.1:9/a\.mrcz"):
        mrcz.open("http://127.0.0.1:9/a.mrcz")
