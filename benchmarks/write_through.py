"""What telling MLflow costs a training: seconds an epoch, seconds at the end, processor seconds beside it.

    python benchmarks/write_through.py [EPOCHS]

It trains the heart network of this project's ``build/heart/prepared`` for a few short epochs, in turns plain
and told to MLflow, into temporary folders.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

from coronet import config
from coronet.preprocessing.prepared_store import prepared_cases
from coronet.tracking import runs
from coronet.tracking.tracker import tracking
from coronet.training import fit

ROUNDS = 3


def main() -> None:
    """Print one JSON object."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    params = config.load_params()
    chosen = dataclasses.replace(
        params.heart,
        network=dataclasses.replace(params.heart.network, encoder="plain"),
        optimiser=dataclasses.replace(params.heart.optimiser, epochs=epochs, patches_per_epoch=16),
    )
    plain, told, calls, syncs, beside = [], [], [], [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            plain.append(_train(chosen, params.seed, Path(folder), None))
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder)
            work = project / "mlruns" / "work" / "f"
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            started = time.perf_counter()
            with tracking("heart", fingerprint="f", params=chosen, project=project, work=work) as tell:

                def on_epoch(number, entry, tell=tell):
                    begun = time.perf_counter()
                    tell(number, entry)
                    calls.append(time.perf_counter() - begun)

                _train(chosen, params.seed, project, on_epoch)
            told.append(time.perf_counter() - started)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            beside.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        with tempfile.TemporaryDirectory() as folder:
            _train(chosen, params.seed, Path(folder), None)
            started = time.perf_counter()
            runs.sync(Path(folder))
            syncs.append(time.perf_counter() - started)
    print(
        json.dumps(
            {
                "epochs": epochs,
                "plain_s": round(statistics.median(plain), 2),
                "told_s": round(statistics.median(told), 2),
                "call_an_epoch_ms": round(1000 * statistics.median(calls), 3),
                "writer_processor_s": round(statistics.median(beside), 2),
                "sync_first_s": round(syncs[0], 2),
                "sync_again_s": round(statistics.median(syncs[1:]), 2),
            }
        )
    )


def _train(chosen, seed: int, project: Path, on_epoch) -> float:
    prepared = Path("build/heart/prepared")
    started = time.perf_counter()
    fit.fit_model(
        "heart",
        prepared,
        chosen,
        train_cases=prepared_cases(prepared, "train"),
        tune_cases=prepared_cases(prepared, "tune")[:2],
        seed=seed,
        out=project / "build" / "heart" / "fit",
        work=project / "mlruns" / "work" / "f",
        fingerprint="f",
        on_epoch=on_epoch,
    )
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
