"""How long a scan takes from disk to score and masks, step by step, beside a plain MONAI pipeline.

    python benchmarks/score.py [--scan CT] [--peer] [--batch 6] [--paper] [--cold] [--out FOLDER]

The peer is written as MONAI's tutorials do it, with the same two networks, windows and overlaps: both scans
resampled by Spacing and cut to what is no air by CropForeground, SlidingWindowInferer with Gaussian weights
over all of it, answers brought back by ResampleToMatch, calcium looked for in the box of the heart. --batch
scores so many copies of the scan one by one and as a folder; --paper times the paper profile's networks,
untrained; --cold starts `coronet score` in a new process. Networks run on the GPU where there is one. Times
are medians. What is printed goes to score.json in --out too, and the picture of where the time goes to
score.svg.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from score_peer import peer

from coronet import config
from coronet.config import ModelParams
from coronet.dataset.quality_flags import quality_flags
from coronet.files import write_json
from coronet.imaging.mask_metrics import dice
from coronet.inference.devices import pick_device
from coronet.inference.predict import calcium_above_threshold, largest_heart, predict_calcium, predict_heart
from coronet.io.reader import read_scan
from coronet.io.volume import values_of, write_nifti
from coronet.networks.factory import LoadedModel, build_network, load_model, save_model
from coronet.networks.unet import UpBlock
from coronet.scoring.batch import LANES, score_folder
from coronet.scoring.calcium_score import score_calcium
from coronet.scoring.entry_scoring import Scorer
from coronet.scoring.score_scan import score_scan

Steps = dict[str, float]


@contextlib.contextmanager
def timed(steps: Steps, name: str) -> Iterator[None]:
    """Add the seconds of the block to ``steps``."""
    started = time.perf_counter()
    yield
    steps[name] = steps.get(name, 0.0) + time.perf_counter() - started


def wait_for_gpu() -> None:
    """A GPU works on while the program has gone on; nothing where there is none."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextlib.contextmanager
def watched(model: LoadedModel, found: Steps) -> Iterator[None]:
    """Collect seconds and multiplications of a network while the block runs."""
    begun: list[float] = []

    def before(*_: Any) -> None:
        wait_for_gpu()
        begun.append(time.perf_counter())

    def after(*_: Any) -> None:
        wait_for_gpu()
        found["seconds"] = found.get("seconds", 0.0) + time.perf_counter() - begun.pop()

    def count(layer: torch.nn.Module, _: Any, answer: torch.Tensor) -> None:
        found["flop"] = found.get("flop", 0.0) + 2 * answer.numel() * layer.weight[0].numel()

    def count_doubling(block: UpBlock, given: tuple[torch.Tensor, ...], answer: torch.Tensor) -> None:
        # eight products for each voxel and channel that is doubled, 27 for each beside it
        doubled, beside = given[0].shape[1], given[1].shape[1] if len(given) > 1 else 0
        found["flop"] = found.get("flop", 0.0) + 2 * answer.numel() * (8 * doubled + 27 * beside)

    hooks = [model.module.register_forward_pre_hook(before), model.module.register_forward_hook(after)]
    hooks += [
        block.register_forward_hook(count_doubling)
        for block in model.module.modules()
        if isinstance(block, UpBlock)
    ]
    hooks += [
        layer.register_forward_hook(count)
        for layer in model.module.modules()
        if isinstance(layer, torch.nn.Conv3d)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def ours(path: Path, heart_model: LoadedModel, calcium_model: LoadedModel, out: Path) -> tuple[Steps, dict]:
    """One scan by the project's path; steps, and score and masks."""
    steps, networks = {}, {}
    cpu = time.process_time()
    with timed(steps, "whole"):
        with timed(steps, "read"):
            scan = read_scan(path)
        with timed(steps, "score"), watched(heart_model, networks), watched(calcium_model, networks):
            scored = score_scan(scan, heart_model=heart_model, calcium_model=calcium_model, force=True)
    steps["cpu"] = time.process_time() - cpu
    steps["networks"], steps["flop"] = networks["seconds"], networks["flop"]
    with timed(steps, "write"):
        scored.save(out)
    masks = scored.masks
    return steps, {
        "score": scored.result.scores.agatston,
        "heart": masks.heart,
        "calcium": masks.calcium,
        "shape": scored.ct.shape,
    }


def in_steps(path: Path, heart_model: LoadedModel, calcium_model: LoadedModel) -> Steps:
    """The same, cut into the steps of the picture; networks apart from what surrounds them."""
    steps: Steps = {}
    heart_time: Steps = {}
    calcium_time: Steps = {}
    with timed(steps, "read and check"):
        scan = read_scan(path)
    ct = scan.volume
    with timed(steps, "fit to be scored?"):
        quality_flags(ct, scan.facts)
    with timed(steps, "resample for the heart"), watched(heart_model, heart_time):
        heart = largest_heart(predict_heart(ct, heart_model), ct, heart_model.params.threshold)
    with timed(steps, "resample for calcium"), watched(calcium_model, calcium_time):
        probability = predict_calcium(ct, heart, calcium_model)
    for name, found in (("heart", heart_time), ("calcium", calcium_time)):
        seconds = found.get("seconds", 0.0)
        steps[f"{name} network"] = seconds
        steps[f"resample for {'the heart' if name == 'heart' else name}"] -= seconds
    with timed(steps, "calcium mask, score"):
        score_calcium(ct, calcium_above_threshold(probability, ct, calcium_model.params.threshold))
    return steps


def limits(path: Path, flop: float) -> Steps:
    """Seconds of inflating the file and of the networks' products alone, as fast as it gets here."""
    import nibabel

    image = nibabel.load(path) if path.name.endswith((".nii", ".nii.gz")) else None
    a = torch.rand(1536, 1536)
    rate = 2 * 1536**3 / fastest(lambda: a @ a, 10)
    found = {"flop_per_s": rate, "networks_s": flop / rate}
    if image is not None:
        found["inflate_s"] = fastest(lambda: values_of(image, path), 3)
    return found


def fastest(work: Callable[[], object], rounds: int) -> float:
    """Shortest of some runs, in seconds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def medians(runs: list[Steps]) -> Steps:
    """Median of each step."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def batch(path: Path, count: int, scorer: Scorer) -> Steps:
    """Seconds a scan of ``count`` scans that differ in one voxel: one by one, and as a folder."""
    rounds = []
    with tempfile.TemporaryDirectory() as work:
        ct = read_scan(path).volume
        for number in range(count):
            ct.array[0, 0, 0] = -1000 + number
            write_nifti(Path(work) / "in" / f"{number}.nii.gz", ct)
        del ct
        for turn in range(3):
            rounds.append({})
            for name, lanes in (("one by one", 1), ("folder", LANES)):
                with timed(rounds[-1], name):
                    score_folder(Path(work) / "in", Path(work) / f"{name} {turn}", scorer=scorer, lanes=lanes)
    return {name: seconds / count for name, seconds in medians(rounds).items()}


def cold(path: Path, heart_fit: Path, calcium_fit: Path) -> Steps:
    """Seconds of the command in a new process, from the shell."""
    command = [sys.executable, "-m", "coronet.cli"]
    score = [
        "score",
        str(path),
        "--models",
        f"heart={heart_fit},calcium={calcium_fit}",
        "--force",
    ]
    return {
        name: fastest(lambda end=end: subprocess.run([*command, *end], check=True, capture_output=True), 3)
        for name, end in (("help", ["--help"]), ("score", score))
    }


def paper(path: Path, heart_model: LoadedModel, calcium_model: LoadedModel) -> dict[str, Steps]:
    """Seconds and multiplications of the paper profile's networks, untrained, on the same scan and heart."""
    raw = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))

    def untrained(model: LoadedModel, name: str) -> LoadedModel:
        params = config.build(ModelParams, raw["profiles"]["paper"][name], where=f"params.yaml: paper.{name}")
        module = build_network(params.network, shape=params.input.shape, seed=1)
        with tempfile.TemporaryDirectory() as folder:
            save_model(Path(folder), module, dataclasses.replace(model.spec, params=params))
            return load_model(Path(folder), device=model.device)

    found: dict[str, Steps] = {"heart": {}, "calcium": {}}
    ct = read_scan(path).volume
    heart = largest_heart(predict_heart(ct, heart_model), ct, heart_model.params.threshold)
    large = untrained(heart_model, "heart")
    with watched(large, found["heart"]):
        predict_heart(ct, large)
    large = untrained(calcium_model, "calcium")
    with watched(large, found["calcium"]):
        predict_calcium(ct, heart, large)
    return found


def processor() -> str:
    """Its name as the system gives it, how many cores are used, and the GPU where there is one."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} threads{gpu}"


def draw(found: dict[str, Any], path: Path) -> None:
    """Bars of the steps, networks in another colour."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    steps = found["steps"]
    figure, axes = pyplot.subplots(figsize=(7.5, 2.6), layout="constrained")
    colours = ["#c2410c" if "network" in name else "#44617b" for name in steps]
    axes.barh(list(steps), [seconds * 1000 for seconds in steps.values()], color=colours)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds")
    axes.spines[["top", "right"]].set_visible(False)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "coronet"}):
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, print a table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scan", type=Path, default=Path("data/ct/phantom-0001.nii.gz"))
    parser.add_argument("--heart-fit", type=Path, default=Path("build/heart/fit"))
    parser.add_argument("--calcium-fit", type=Path, default=Path("build/calcium/fit"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--paper", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    for needed in (given.scan, given.heart_fit, given.calcium_fit):
        if not needed.exists():
            print(f"{needed} is absent; `make demo` makes it, or name another (--help).")
            return
    models = tuple(load_model(fit, device=pick_device()) for fit in (given.heart_fit, given.calcium_fit))
    with tempfile.TemporaryDirectory() as folder:
        runs = [ours(given.scan, *models, Path(folder)) for _ in range(given.repeats + 1)][1:]
    times, result = medians([steps for steps, _ in runs]), runs[-1][1]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    found: dict[str, Any] = {
        "processor": processor(),
        "load_average": os.getloadavg()[0],
        "shape": list(result["shape"]),
        "agatston": result["score"],
        "ours": times,
        "peak_gb": memory,
        "steps": medians([in_steps(given.scan, *models) for _ in range(given.repeats)]),
        "limits": limits(given.scan, times["flop"]),
    }
    rows = [
        ("scan on disk → score and masks", times["whole"], f"{times['cpu']:.2f} s of processor time"),
        ("  of it reading", times["read"], f"inflating alone {found['limits'].get('inflate_s', 0):.2f} s"),
        (
            "  of it the networks",
            times["networks"],
            f"{times['flop'] / 1e9:.0f} GFLOP; at the rate of a matrix product "
            f"({found['limits']['flop_per_s'] / 1e9:.0f} GFLOP/s) {found['limits']['networks_s']:.2f} s",
        ),
        ("writing the masks", times["write"], ""),
    ]
    if given.peer:
        steps: Steps = {}
        with timed(steps, "whole"):
            theirs = peer(given.scan, *models)
        found["peer"] = {
            "whole": steps["whole"],
            "ratio": steps["whole"] / times["whole"],
            "agatston": theirs.agatston,
            "heart_dice": dice(result["heart"], theirs.heart),
        }
        rows.append(
            ("plain MONAI pipeline, same networks", steps["whole"], f"{found['peer']['ratio']:.1f} × ours")
        )
    if given.batch:
        found["batch"] = batch(given.scan, given.batch, Scorer(*models, force=True))
        each = found["batch"]
        rows.append(("a scan of a batch, one by one", each["one by one"], ""))
        gain = each["one by one"] / each["folder"]
        rows.append(("a scan of a batch, as a folder", each["folder"], f"{gain:.2f} × the throughput"))
    if given.cold:
        found["cold"] = cold(given.scan, given.heart_fit, given.calcium_fit)
        rows.append(("coronet --help, from the shell", found["cold"]["help"], ""))
        rows.append(("coronet score, from the shell", found["cold"]["score"], ""))
    if given.paper:
        found["paper"] = paper(given.scan, *models)
        for name, steps in found["paper"].items():
            least = steps["flop"] / found["limits"]["flop_per_s"]
            note = f"untrained; {steps['flop'] / 1e9:.0f} GFLOP, by the matrix product's rate {least:.1f} s"
            rows.append((f"paper profile, {name} network", steps["seconds"], note))
    shape = " × ".join(map(str, result["shape"]))
    print(f"{shape} voxels, {found['processor']}, load {found['load_average']:.1f}; peak {memory:.2f} GB\n")
    print("| what | s | |\n|---|---|---|")
    for name, seconds, note in rows:
        print(f"| {name} | {seconds:.2f} | {note} |")
    print("\n| step | ms |\n|---|---|")
    for name, seconds in found["steps"].items():
        print(f"| {name} | {seconds * 1000:.0f} |")
    if given.out:
        write_json(given.out / "score.json", found)
        draw(found, given.out / "score.svg")


if __name__ == "__main__":
    main()
