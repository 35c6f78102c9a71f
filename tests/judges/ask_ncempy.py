"""Driver, run by a Python that has ncempy: read the DM files on stdin, answer on stdout."""

import contextlib
import io
import json
import sys

import numpy as np
from ncempy.io.dm import fileDM


def do(job, number, folder):
    with contextlib.redirect_stdout(io.StringIO()), fileDM(job["path"]) as file:
        dataset = file.getDataset(0)
    path = f"{folder}/answer{number}.npy"
    np.save(path, dataset["data"])
    return {"array": path, "units": list(dataset["pixelUnit"]),
            "scales": [float(scale) for scale in dataset["pixelSize"]]}


def main():
    answers = []
    for number, job in enumerate(json.load(sys.stdin)):
        try:
            answers.append(do(job, number, sys.argv[1]))
        except Exception as error:
            # What it can't read is for the test to judge.
            answers.append({"refused": repr(error)})
    print(json.dumps(answers))


main()
