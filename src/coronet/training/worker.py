"""One of several processes that train a network; torchrun starts it with the file of the job."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

from coronet import files
from coronet.errors import CoronetError
from coronet.memory import keep_memory
from coronet.training import processes
from coronet.training.job import read_job, train_here

FAILURE = "failure.json"
"""In the folder of the checkpoints: why the training cannot go on, however often it is started."""


def main(path: Path) -> None:
    """Train as a member of the group until the job is done."""
    failure = path.parent / FAILURE
    if failure.exists():
        return
    keep_memory()
    # weights lie channels last, and so do their gradients
    warnings.filterwarnings("ignore", message="Grad strides do not match")
    with processes.member():
        logging.getLogger("coronet").setLevel(logging.WARNING)
        try:
            train_here(read_job(path), path.parent)
        except CoronetError as error:
            files.write_json(failure, {"message": str(error)})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
