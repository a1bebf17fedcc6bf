"""What tracking in MLflow costs a training: seconds an epoch and seconds in all.

    python benchmarks/write_through.py [EPOCHS]

It trains the heart network of this project's ``build/heart/prepared`` for a few short epochs, in turns plain
and tracked, into temporary folders.
"""

from __future__ import annotations

import dataclasses
import json
import os
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
    plain, tracked, calls, syncs = [], [], [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            plain.append(_train(chosen, params.seed, Path(folder), None))
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder)
            started = time.perf_counter()
            with tracking("heart", fingerprint="f", params=chosen, project=project) as send:

                def on_epoch(number, entry, send=send):
                    begun = time.perf_counter()
                    send(number, entry)
                    calls.append(time.perf_counter() - begun)

                _train(chosen, params.seed, project, on_epoch)
            tracked.append(time.perf_counter() - started)
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
                "tracked_s": round(statistics.median(tracked), 2),
                "call_an_epoch_ms": round(1000 * statistics.median(calls), 3),
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
