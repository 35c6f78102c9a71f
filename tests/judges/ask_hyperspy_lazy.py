"""Driver, run by a Python that has HyperSpy and our mrcz: what lazy signals do, on stdout."""

import json
import logging
import os
import pickle
import sys
import warnings

import dask.array as da
import hyperspy.api as hs
import numpy as np

import mrcz
import mrcz.chunks

warnings.simplefilter("ignore")

decoded = 0


def count_what_is_decoded():
    real = mrcz.chunks.decompress

    def counting(chunk, header, *args, **kwargs):
        global decoded
        decoded += header.nbytes
        return real(chunk, header, *args, **kwargs)

    mrcz.chunks.decompress = counting


def resident(what="VmRSS"):
    """Resident memory of this process in MB; with VmHWM its peak."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(what))
    return int(line.split()[1]) / 1024


def forget_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def load(path):
    return hs.load(path, lazy=True)


def saved(array, folder, number):
    path = f"{folder}/lazy{number}.npy"
    np.save(path, array)
    return path


def do_open(job):
    """Load, look at it, take one frame and some of its rows."""
    before = resident()
    signal = load(job["path"])
    facts = {"decoded": decoded, "grown": resident() - before, "lazy": bool(signal._lazy),
             "shape": signal.data.shape, "dtype": signal.data.dtype.str,
             "nbytes": signal.data.nbytes, "is_dask": isinstance(signal.data, da.Array),
             "metadata": signal.metadata.as_dictionary(),
             "axes": [[axis.scale, str(axis.units)] for axis in signal.axes_manager._axes],
             "header": sorted(signal.original_metadata.as_dictionary()["mrcz_header"])}
    if "frame" in job:
        frame = signal.inav[job["frame"]]
        frame.compute()
        facts.update(decoded_for_frame=decoded - facts["decoded"], array=saved(
            frame.data, job["folder"], job["number"]), grown_by_frame=resident() - before)
        rows = signal.inav[job["frame"] + 1].isig[:, 10:20].data
        start = decoded
        facts["rows"] = rows.compute().tolist()
        facts["decoded_for_rows"] = decoded - start
    return facts


def do_compute(job):
    """Load and compute all of it, in this process or others."""
    signal = load(job["path"])
    array = signal.data.compute(scheduler=job["scheduler"])
    return {"array": saved(array, job["folder"], job["number"])}


def do_reduce(job):
    """A mean over frames, which needs a few of them at a time."""
    signal = load(job["path"])
    before = resident("VmRSS")
    forget_peak()
    mean = signal.mean()
    mean.compute()
    return {"array": saved(mean.data, job["folder"], job["number"]),
            "grown": resident("VmHWM") - before}


def do_save(job):
    """Save a lazy signal, twice as bright, be it onto itself."""
    signal = load(job["path"]) * 2
    before = resident("VmRSS")
    forget_peak()
    signal.save(job["to"], overwrite=True, **job["options"])
    return {"grown": resident("VmHWM") - before}


def do_distribute(job):
    """Compute on a dask worker; then overwrite the file, load it anew and compute again."""
    from distributed import Client, LocalCluster

    image = np.load(job["given"])
    answers = []
    with LocalCluster(n_workers=1, threads_per_worker=1,
                      dashboard_address="127.0.0.1:0") as cluster, Client(cluster):
        for step in range(2):
            mrcz.writeMRC(image + image.dtype.type(step), job["path"], compressor="zstd")
            before = decoded
            answers.append(saved(load(job["path"]).data.compute(), job["folder"],
                                 f"{job['number']}-{step}"))
            assert decoded == before, "this process decoded"
    with mrcz.open(job["path"]) as stack:
        size = len(pickle.dumps(stack))
    return {"arrays": answers, "pickled_bytes": size}


def main():
    logging.disable(logging.WARNING)
    count_what_is_decoded()
    answers = []
    for number, job in enumerate(json.load(sys.stdin)):
        try:
            function = globals()[f"do_{job['do']}"]
            answers.append(function({**job, "number": number, "folder": sys.argv[1]}))
        except Exception as error:
            answers.append({"error": repr(error)})
    print(json.dumps(answers, default=str))


if __name__ == "__main__":
    os.environ["TQDM_DISABLE"] = "1"
    main()
