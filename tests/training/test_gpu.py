"""What runs on a GPU where there is one; on a CPU these tests are skipped."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from coronet.networks.factory import build_network, load_model
from coronet.preprocessing.prepared_store import load_prepared
from coronet.training.fit import fit_model
from coronet.training.learners import SegmentationLearner
from coronet.training.sampling import WindowSampler

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("model", ["heart", "calcium"])
def test_samples_made_on_a_gpu_are_those_of_a_cpu(prepared, params, model):
    chosen = params.model(model)
    chosen = dataclasses.replace(chosen, augment=dataclasses.replace(chosen.augment, probability=1.0))
    cases = load_prepared(prepared[model], ("a", "b"), chosen.input)
    cpu, gpu = (WindowSampler(cases, chosen, seed=1, device=torch.device(name)) for name in ("cpu", "cuda"))
    for step in range(3):
        for here, there in zip(cpu.batch(0, step), gpu.batch(0, step), strict=True):
            assert there.device.type == "cuda"
            # a voxel on the edge of what is hidden may fall to either side
            assert ((there.cpu() - here).abs() > 0.01).float().mean() < 0.002


@pytest.mark.parametrize("model", ["heart", "calcium"])
def test_a_training_on_a_gpu_learns_and_its_model_loads_on_a_cpu(prepared, params, model, tmp_path):
    result = fit_model(
        model,
        prepared[model],
        params.model(model),
        train_cases=("a", "b", "c"),
        tune_cases=("d",),
        seed=1,
        out=tmp_path / "fit",
        work=tmp_path / "work",
    )
    assert result.epochs == 3
    loaded = load_model(result.folder)
    assert all(torch.isfinite(tensor).all() for tensor in loaded.module.state_dict().values())


def test_a_step_in_bfloat16_is_near_to_one_in_full_precision(prepared, params):
    chosen = params.heart
    cases = load_prepared(prepared["heart"], ("a", "b"), chosen.input)
    losses = []
    for name in ("cpu", "cuda"):
        device = torch.device(name)
        learner = SegmentationLearner(
            "heart", chosen, train_cases=cases[:1], tune_cases=cases[1:], seed=1, device=device
        )
        network = build_network(chosen.network, shape=chosen.input.shape, seed=1).to(
            device, memory_format=torch.channels_last_3d
        )
        inputs, targets = learner.batch(0, 0)
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=name == "cuda"):
            outputs = network(inputs.contiguous(memory_format=torch.channels_last_3d))
        losses.append(float(learner.loss(outputs, targets)))
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
