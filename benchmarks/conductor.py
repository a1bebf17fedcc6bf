"""What Prefect costs beside plain `dvc repro`: python benchmarks/conductor.py [--project FOLDER] [--stages N]

Side by side on a project of N stages that do nothing, each in a fresh copy and then again with nothing to do;
and, with --project, on a project whose stages are up to date.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = [sys.executable, str(ROOT / "flows" / "pipeline.py"), "--no-register"]
REPRO = [sys.executable, "-m", "dvc", "repro"]


def make_project(folder: Path, stages: int) -> None:
    """A chain of stages that copy a file."""
    (folder / ".dvc").mkdir(parents=True)
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    (folder / "0.txt").write_text("0")
    lines = ["stages:"]
    for stage in range(1, stages + 1):
        before, after = f"{stage - 1}.txt", f"{stage}.txt"
        lines.append(f"  s{stage}: {{cmd: cp {before} {after}, deps: [{before}], outs: [{after}]}}")
    (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")


def seconds(command: list[str], folder: Path, **environment: str) -> float:
    """How long a command takes; it must succeed."""
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    return time.perf_counter() - started


def with_server(home: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A server that is there before the flow is."""
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", "4255"]
    environment = os.environ | {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = "http://127.0.0.1:4255/api"
    while subprocess.run(["curl", "-sf", f"{address}/health"], capture_output=True, check=False).returncode:
        time.sleep(0.1)
    return server, address


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, help="a project after `make demo`, to be run up to date")
    parser.add_argument("--stages", type=int, default=10)
    chosen = parser.parse_args()
    rows: list[tuple[str, list[float]]] = []
    with tempfile.TemporaryDirectory(prefix="coronet-bench-") as name:
        home = Path(name) / "prefect"
        last = f"s{chosen.stages}"

        def measure(targets: list[str], folder: Path, **environment: str) -> float:
            return seconds([*PIPELINE, *targets], folder, PREFECT_HOME=str(home), **environment)

        warm = Path(name) / "warm"
        make_project(warm, 1)
        first = measure(["--targets", "s1"], warm)
        plain, alone, served = (Path(name) / kind for kind in ("plain", "alone", "served"))
        for folder in (plain, alone, served):
            make_project(folder, chosen.stages)
        targets = ["--targets", last]
        for what in (f"{chosen.stages} stages that copy a file", f"{chosen.stages} stages, nothing to do"):
            rows.append((what, [seconds(REPRO, plain), measure(targets, alone)]))
        ready = [rows[0][0], rows[1][0]]
        projects = {}
        if chosen.project:
            projects["the project, nothing to do"] = chosen.project
            rows.append(
                ("the project, nothing to do", [seconds(REPRO, chosen.project), measure([], chosen.project)])
            )
        server, address = with_server(home)
        try:
            for index, _ in enumerate(ready):
                rows[index][1].append(measure(targets, served, PREFECT_API_URL=address))
            for folder in projects.values():
                rows[-1][1].append(measure([], folder, PREFECT_API_URL=address))
        finally:
            server.terminate()
            server.wait()
    print(f"the very first flow of a project, which makes Prefect's database: {first:.1f} s")
    print(f"{'seconds':40} {'dvc repro':>10} {'flow alone':>11} {'flow, server there':>19}")
    for what, figures in rows:
        print(f"{what:40} {figures[0]:10.1f} {figures[1]:11.1f} {figures[2]:19.1f}")
    per_stage = (rows[0][1][2] - rows[1][1][2] - rows[0][1][0] + rows[1][1][0]) / chosen.stages
    print(f"each stage that runs costs {per_stage:.2f} s more than within one `dvc repro`")


if __name__ == "__main__":
    main()
