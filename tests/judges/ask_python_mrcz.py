"""Driver, run by a Python that has python-mrcz: do the jobs on stdin, answer on stdout."""

import json
import sys
import warnings

import numpy as np

import mrcz

warnings.simplefilter("ignore")


def plain(value):
    """Make numpy's numbers and arrays JSON."""
    if isinstance(value, bytes):
        return value.decode("ascii")
    return value.tolist() if hasattr(value, "tolist") else value


def do(job, number, folder):
    if job["do"] == "write":
        image = np.load(job["array"])
        mrcz.writeMRC(list(image) if job["list"] else image, job["path"], **job["options"])
        return {}
    image, header = mrcz.readMRC(job["path"], **job.get("options", {}))
    path = f"{folder}/answer{number}.npy"
    np.save(path, np.asarray(image))
    return {"array": path, "list": isinstance(image, list),
            "header": {key: plain(value) for key, value in header.items()}}


def main():
    if mrcz.__version__ not in ("0.5.10", "0.6.0"):
        raise SystemExit(f"this is mrcz {mrcz.__version__}, not the incumbent")
    answers = []
    for number, job in enumerate(json.load(sys.stdin)):
        try:
            answers.append(do(job, number, sys.argv[1]))
        except Exception as error:
            answers.append({"error": repr(error)})
    print(json.dumps(answers))


main()
