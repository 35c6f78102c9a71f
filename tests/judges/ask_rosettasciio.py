"""Driver, run by a Python that has RosettaSciIO: read the DM files on stdin, answer on stdout."""

import json
import sys
import warnings

import numpy as np
from rsciio.digitalmicrograph import file_reader


def plain(value):
    """Return tags as JSON has them: tuples are lists, and characters text."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, (list, tuple)):
        if value and isinstance(value[0], bytes):
            return b"".join(value).decode("latin-1")
        return [plain(item) for item in value]
    return value


def do(job, number, folder):
    images = []
    for count, image in enumerate(file_reader(job["path"])):
        path = f"{folder}/answer{number}-{count}.npy"
        np.save(path, image["data"])
        images.append({"array": path, "tags": plain(dict(image["original_metadata"])),
                       "axes": [{key: axis[key] for key in ("name", "scale", "offset", "units")}
                                for axis in image["axes"]]})
    return {"images": images}


def main():
    warnings.simplefilter("ignore")
    answers = []
    for number, job in enumerate(json.load(sys.stdin)):
        try:
            answers.append(do(job, number, sys.argv[1]))
        except Exception as error:
            answers.append({"error": repr(error)})
    print(json.dumps(answers))


main()
