"""Samples a second that training takes in, beside a plain MONAI recipe with the same network and data.

    python benchmarks/train.py [heart calcium] [--profile demo] [--steps 24] [--rounds 3] [--json FILE]
    python benchmarks/train.py heart --dice 6
    python benchmarks/train.py calcium --profile paper --prepare 4 --steps 2 --rounds 1

The plain recipe is written as MONAI's tutorials are: CacheDataset, dictionary transforms on the CPU,
DataLoader with two workers, fp32, standard layout, and the network layer by layer. Both run in turns on the
prepared cases of ``build/``, each in a process of its own, since ours keeps its memory; a round is one epoch
of each, after one that is not counted. Beside the wall time stands the processor time of the process and its
workers, which other jobs on the machine disturb less. With ``--dice N`` both are trained for N of the epochs
from the same first weights, and the metric of the tune cases is compared. With ``--prepare N`` so many of the
scans in ``data/`` are prepared anew, as the profile wants them, in a folder that is removed afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from real_heart import as_split
from torch import nn

from coronet import config, files
from coronet.config import ModelParams, Params
from coronet.dataset.cases import find_cases
from coronet.inference.devices import pick_device
from coronet.io.volume import AIR_HU
from coronet.memory import keep_memory
from coronet.networks.factory import build_network
from coronet.preprocessing.prepared_store import PreparedCase, load_prepared, prepare_model, prepared_cases
from coronet.training.fit import SegmentationLearner
from coronet.training.trainer import train_epochs

WORKERS = 2
_epoch: Callable[[], None]
"""What a `Contender`'s process does."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one epoch: seconds on the clock and processor seconds, the workers' included."""

    wall_s: float
    processor_s: float


class Unmeasured:
    """The learner of `fit` without its looks at the tune cases."""

    metric = "nothing"

    def __init__(self, learner: SegmentationLearner) -> None:
        self._learner = learner
        self.batch, self.loss = learner.batch, learner.loss

    def begin_epoch(self, epoch: int, module: nn.Module) -> None:
        """Nothing is judged."""

    def measure(self, module: nn.Module, loss: float) -> dict[str, float]:
        """Every epoch is as good as any."""
        return {self.metric: 0.0}


class PlainRecipe:
    """Training as a tutorial does it."""

    def __init__(self, params: ModelParams, cases: Sequence[PreparedCase], seed: int) -> None:
        from monai.data import CacheDataset
        from monai.losses import DiceFocalLoss
        from monai.utils import set_determinism

        set_determinism(seed)
        # scans without calcium; it then takes windows from anywhere, as ours does
        warnings.filterwarnings("ignore", message="Num foregrounds 0")
        self._params, self._device = params, pick_device()
        network = build_network(params.network, shape=params.input.shape, seed=seed)
        self.network = network.to(self._device)
        self._optimiser = torch.optim.Adam(self.network.parameters(), lr=params.optimiser.learning_rate)
        loss = params.loss
        self._loss = DiceFocalLoss(
            sigmoid=True,
            squared_pred=True,
            batch=True,
            gamma=loss.focal_gamma,
            alpha=loss.focal_alpha,
            lambda_dice=loss.dice,
            lambda_focal=loss.focal,
            smooth_nr=1.0,
            smooth_dr=1.0,
        )
        items = [{"image": _within(case, params), "label": case.target[None] >= 128} for case in cases]
        self._data = CacheDataset(items, transform=_transforms(params), progress=False)

    def epoch(self, steps: int) -> None:
        """One pass of ``steps`` batches; the cases are gone through as often as that takes."""
        from monai.data import DataLoader

        size = self._params.optimiser.batch_size
        sampler = torch.utils.data.RandomSampler(self._data, num_samples=steps * size, replacement=True)
        # «fork» is what it does by itself on Linux, but not within a process that was spawned
        loader = DataLoader(
            self._data, batch_size=size, sampler=sampler, num_workers=WORKERS, multiprocessing_context="fork"
        )
        self.network.train()
        total = 0.0
        for batch in loader:
            inputs, labels = batch["image"].to(self._device), batch["label"].to(self._device)
            self._optimiser.zero_grad()
            loss = self._loss(self.network(inputs.as_tensor()), labels.as_tensor())
            loss.backward()
            self._optimiser.step()
            total += loss.item()
        if not np.isfinite(total):
            raise SystemExit("the plain recipe's loss is not a number")


def _train_cases(params: ModelParams, data: Path) -> tuple[PreparedCase, ...]:
    return load_prepared(data, prepared_cases(data, "train"), params.input)


def _within(case: PreparedCase, params: ModelParams) -> np.ndarray:
    seen = case.within(params.input.margin_mm)
    return seen.hu[None].astype(np.float32)


def prepare_some(model: str, params: Params, count: int, out: Path) -> None:
    """Prepare ``count`` scans to train on and one to tune on."""
    cases = find_cases(Path("data"))[: count + 1]
    *train, tune = (case.id for case in cases)
    prepare_model(model, cases, as_split(train=train, tune=[tune]), params, out)


def _transforms(params: ModelParams) -> Any:
    """What `coronet.preprocessing` does to a sample, one dictionary transform after the other."""
    from monai import transforms as t

    both, modes = ["image", "label"], ("bilinear", "nearest")
    spec, change = params.input, params.augment
    often = change.probability
    shift = [change.shift_mm / mm for mm in spec.spacing_mm]
    zoom = [(low - 1, high - 1) for low, high in [change.zoom] * 3]
    sigma = [(0.0, change.blur_mm / mm) for mm in spec.spacing_mm]
    chain = [
        t.ScaleIntensityRanged("image", *spec.window_hu, -1.0, 1.0, clip=True),
        t.SpatialPadd("image", spec.shape, value=-1.0 if spec.window_hu[0] >= AIR_HU else 0.0),
        t.SpatialPadd("label", spec.shape),
        t.EnsureTyped(both),
        t.RandCropByPosNegLabeld(
            both,
            label_key="label",
            spatial_size=spec.shape,
            pos=params.sampling.positives,
            neg=1 - params.sampling.positives,
            num_samples=1,
        ),
        t.RandAffined(
            both,
            prob=often,
            rotate_range=[np.deg2rad(change.rotation_deg)] * 3,
            translate_range=shift,
            scale_range=zoom,
            mode=modes,
            padding_mode="border",
        ),
        t.Rand3DElasticd(
            both,
            prob=often,
            sigma_range=(5, 7),
            magnitude_range=(0, change.elastic_mm / min(spec.spacing_mm)),
            mode=modes,
            padding_mode="border",
        ),
        t.RandGaussianSmoothd("image", *sigma, prob=often),
        t.RandAdjustContrastd("image", prob=often, gamma=change.gamma),
    ]
    if change.noise_hu:
        low, high = spec.window_hu
        chain.insert(-1, t.RandGaussianNoised("image", prob=often, std=2 * change.noise_hu / (high - low)))
    return t.Compose(chain)


def cost_of(epoch: Callable[[], None]) -> Cost:
    """What an epoch cost; its workers must have ended by then."""
    wall, before = time.perf_counter(), os.times()
    epoch()
    after = os.times()
    return Cost(time.perf_counter() - wall, sum(after[:4]) - sum(before[:4]))


def our_epochs(model: str, params: ModelParams, data: Path, seed: int, rounds: int) -> Callable[[], None]:
    """One more epoch of `coronet.training.trainer.train_epochs` a call, in a process that goes on."""
    keep_memory()
    tune = load_prepared(data, prepared_cases(data, "tune")[:1], params.input)
    learner = Unmeasured(
        SegmentationLearner(
            model,
            params,
            train_cases=_train_cases(params, data),
            tune_cases=tune,
            seed=seed,
            device=pick_device(),
        )
    )
    network = build_network(params.network, shape=params.input.shape, seed=seed)
    schedule = dataclasses.replace(params.optimiser, epochs=rounds + 1, stop_patience=0)
    folder = tempfile.TemporaryDirectory()

    class OneIsEnough(Exception):
        """Ends the training after an epoch."""

    def give_up(*_: object) -> None:
        raise OneIsEnough

    def epoch() -> None:
        with contextlib.suppress(OneIsEnough):
            train_epochs(
                network,
                learner,
                schedule,
                seed=seed,
                work=Path(folder.name),
                device=pick_device(),
                title="ours",
                on_epoch=give_up,
            )

    return epoch


def plain_epochs(params: ModelParams, data: Path, seed: int) -> Callable[[], None]:
    """One more epoch of the plain recipe with every call."""
    recipe = PlainRecipe(params, _train_cases(params, data), seed)
    return lambda: recipe.epoch(params.optimiser.patches_per_epoch // params.optimiser.batch_size)


class Contender:
    """Epochs that run in a process of their own, which waits between them."""

    def __init__(self, begin: Callable[..., Callable[[], None]], *given: Any) -> None:
        self._process = ProcessPoolExecutor(1, get_context("spawn"), _take_up, (begin, *given))

    def epoch(self) -> Cost:
        """Run one more epoch."""
        return self._process.submit(_go_on).result()

    def end(self) -> None:
        """End the process."""
        self._process.shutdown()


def _take_up(begin: Callable[..., Callable[[], None]], *given: Any) -> None:
    global _epoch
    _epoch = begin(*given)


def _go_on() -> Cost:
    return cost_of(_epoch)


def compare(model: str, params: ModelParams, data: Path, *, seed: int, rounds: int) -> dict[str, Any]:
    """Samples a second of both, and the ratio."""
    schedule = params.optimiser
    steps = schedule.patches_per_epoch // schedule.batch_size
    contenders = {
        "ours": Contender(our_epochs, model, params, data, seed, rounds),
        "plain": Contender(plain_epochs, params, data, seed),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, contender in contenders.items():
            costs[name].append(contender.epoch())
    for contender in contenders.values():
        contender.end()
    samples = steps * schedule.batch_size
    result: dict[str, Any] = {"model": model, "batch": schedule.batch_size, "samples_an_epoch": samples}
    for name, all_costs in costs.items():
        counted = all_costs[1:]
        result[f"{name}_samples_per_s"] = samples / statistics.median(cost.wall_s for cost in counted)
        result[f"{name}_processor_s_a_sample"] = (
            statistics.median(cost.processor_s for cost in counted) / samples
        )
    result["ratio"] = result["ours_samples_per_s"] / result["plain_samples_per_s"]
    result["processor_ratio"] = result["plain_processor_s_a_sample"] / result["ours_processor_s_a_sample"]
    return result


def compare_dice(model: str, params: ModelParams, data: Path, *, seed: int, epochs: int) -> dict[str, Any]:
    """The tune metric after the same number of samples."""
    cases = _train_cases(params, data)
    tune = load_prepared(data, prepared_cases(data, "tune"), params.input)
    device = pick_device()
    learner = SegmentationLearner(model, params, train_cases=cases, tune_cases=tune, seed=seed, device=device)
    schedule = dataclasses.replace(params.optimiser, epochs=epochs, stop_patience=0)
    steps = schedule.patches_per_epoch // schedule.batch_size
    network = build_network(params.network, shape=params.input.shape, seed=seed)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        outcome = train_epochs(
            network, learner, schedule, seed=seed, work=Path(folder), device=device, title="ours"
        )
    ours_s, started = time.perf_counter() - started, time.perf_counter()
    plain = PlainRecipe(params, cases, seed)
    reached = []
    for _ in range(epochs):
        plain.epoch(steps)
        reached.append(learner.measure(plain.network.eval(), 0.0)[learner.metric])
    return {
        "model": model,
        "metric": learner.metric,
        "samples": epochs * steps * schedule.batch_size,
        "ours": outcome.best,
        "plain": max(reached),
        "ours_s": ours_s,
        "plain_s": time.perf_counter() - started,
    }


def main() -> None:
    """Print a table with the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=config.MODELS)
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of the prepared cases")
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--steps", type=int, default=24, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, help="samples of a step, in place of the profile's")
    parser.add_argument("--prepare", type=int, metavar="N", help="prepare so many scans for it")
    parser.add_argument("--dice", type=int, metavar="EPOCHS", help="compare the metric instead")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    given = parser.parse_args()
    results = []
    everything = _params(given.profile)
    seed = everything.seed
    for model in given.models:
        params = everything.model(model)
        data = given.build / model / "prepared"
        with tempfile.TemporaryDirectory() as folder:
            if given.prepare:
                data = Path(folder) / "prepared"
                prepare_some(model, everything, given.prepare, data)
            if given.dice:
                results.append(compare_dice(model, params, data, seed=seed, epochs=given.dice))
                continue
            batch = given.batch or params.optimiser.batch_size
            shorter = dataclasses.replace(
                params.optimiser, batch_size=batch, patches_per_epoch=given.steps * batch
            )
            params = dataclasses.replace(params, optimiser=shorter)
            results.append(compare(model, params, data, seed=seed, rounds=given.rounds))
    machine = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "profile": given.profile,
    }
    columns = list(results[0])
    print(", ".join(f"{key} {value}" for key, value in machine.items()), end="\n\n")
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for result in results:
        cells = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in result.values())
        print("| " + " | ".join(cells) + " |")
    if given.json:
        files.write_json(given.json, {"machine": machine, "results": results})


def _params(profile: str) -> Params:
    """``params.yaml`` with another profile."""
    raw = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_text(yaml.safe_dump({**raw, "profile": profile}), encoding="utf-8")
        return config.load_params(path)


if __name__ == "__main__":
    main()
