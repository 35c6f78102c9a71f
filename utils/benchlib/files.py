"""Files and folders that the contenders leave behind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def size(path: str) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    place = Path(path)
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def remove(path: str) -> None:
    """Remove a file or folder that may be there."""
    if os.path.isdir(path):
        shutil.rmtree(path)
    else:
        Path(path).unlink(missing_ok=True)
