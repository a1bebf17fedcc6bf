"""What Ray costs a scan beside the plain batch, and how long a cohort of NLST's size would take.

``python benchmarks/cohort.py measure FOLDER`` scores a folder by both, on this machine.
``python benchmarks/cohort.py project --overhead 0.05`` prints the projection.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import tempfile
import time
from pathlib import Path

import psutil

from coronet import api
from coronet.scoring.cohort_worker import WorkerOptions

SCANS = 127_776  # of NLST that DeepCAC2 scored
MB_A_SCAN = 92.6  # mean of all series that `coronet data nlst --plan` counts
CORES = (1, 8, 64, 512)
GPUS = 8
LINKS_GBIT_S = (0.1, 1.0, 10.0)


def measure(folder: Path, workers: int) -> dict[str, float]:
    """Seconds of processor time a scan, by the plain batch and by workers of Ray with a core each.

    All processes of Ray count: driver, workers, scheduler and dashboard. ``engine_processor_s`` is what all
    but the workers use. Its start and the loading of the networks do not count: the clock runs from the first
    scan that is done to the last. Measure on a machine that does nothing else.
    """
    found = {}
    with tempfile.TemporaryDirectory() as place:
        for name in ("plain", "ray"):
            times: list[tuple[float, float, float]] = []

            def note(done: int, total: int, times: list[tuple[float, float, float]] = times) -> None:
                times.append((*_used(), time.perf_counter()))

            if name == "plain":
                api.score_batch(folder, Path(place) / name, progress=note)
            else:
                workers_options = WorkerOptions(count=workers)
                api.score_cohort(str(folder), Path(place) / name, workers=workers_options, progress=note)
            scans = len(times) - 1
            spent, engine, wall = (
                (last - first) / scans for first, last in zip(times[0], times[-1], strict=True)
            )
            found |= {f"{name}_processor_s": round(spent, 3), f"{name}_wall_s": round(wall, 3)}
    found["engine_processor_s"] = round(engine, 3)
    found["overhead"] = round(found["ray_processor_s"] / found["plain_processor_s"] - 1, 3)
    return found


def _used() -> tuple[float, float]:
    """Processor seconds of this process and all below it, and of those that are no workers of Ray."""
    here = psutil.Process()
    spent = engine = 0.0
    for process in (here, *here.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess, IndexError):
            used = sum(process.cpu_times()[:2])
            spent += used
            engine += 0.0 if process.cmdline()[0].startswith("ray::_Worker") else used
    return spent, engine


def project(score_s: float, gpu_score_s: float, overhead: float) -> list[dict[str, object]]:
    """Hours of the cohort: download and scoring overlap, so that the slower of the two decides.

    scoring = scans · seconds a scan · (1 + overhead) / computing units; download = scans · bytes / link.

    Args:
        score_s: seconds of one core for a scan.
        gpu_score_s: seconds of one GPU for a scan.
        overhead: of the engine, as a fraction.
    """
    units = [(f"{cores} cores", cores, score_s) for cores in CORES] + [(f"{GPUS} GPUs", GPUS, gpu_score_s)]
    rows = []
    for (name, count, seconds), link in itertools.product(units, LINKS_GBIT_S):
        scoring = SCANS * seconds * (1 + overhead) / count / 3600
        download = SCANS * MB_A_SCAN * 8e-3 / link / 3600
        rows.append(
            {
                "on": name,
                "gbit_s": link,
                "scoring_h": round(scoring, 1),
                "download_h": round(download, 1),
                "hours": round(max(scoring, download), 1),
                "bottleneck": "download" if download > scoring else "scoring",
            }
        )
    return rows


def main() -> None:
    """Print what was measured or projected as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("folder", type=Path)
    measuring.add_argument("--workers", type=int, default=2)
    projecting = commands.add_parser("project")
    projecting.add_argument("--score-s", type=float, default=2.6, help="seconds of one core for a scan")
    projecting.add_argument("--gpu-score-s", type=float, default=0.3, help="seconds of one GPU for a scan")
    projecting.add_argument("--overhead", type=float, default=0.05, help="of the engine")
    for command in (measuring, projecting):
        command.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.command == "measure":
        found: object = measure(options.folder, options.workers)
    else:
        found = project(options.score_s, options.gpu_score_s, options.overhead)
    text = json.dumps(found, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
