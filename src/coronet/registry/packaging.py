"""A version's folder: a model that MLflow loads without a pickle, and the files of its lineage."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import coronet
from coronet.files import sha256_file, write_bytes, write_json, write_text
from coronet.networks.bundled import FOLDER
from coronet.networks.calibration import CALIBRATION, calibration_path
from coronet.networks.input_distribution import DISTRIBUTION, distribution_path
from coronet.networks.quality import QUALITY, ModelQuality
from coronet.registry.reference_output import GOLDEN, golden_facts, golden_volume

CARD, PATCH = "model-card.md", "uncommitted.patch"
_SCRIPT = Path(__file__).parent / "network_pyfunc.py"


def build_network_folder(fit: Path, out: Path, *, quality: ModelQuality, files: Mapping[str, bytes]) -> Path:
    """Write a version's folder, absent before.

    Args:
        fit: folder of the model.
        quality: what was reached on test scans, and the gate's verdict.
        files: what else lies beside the model, by name; empty ones are left out.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    from coronet.networks.factory import WEIGHTS, load_model, network_stride

    params = load_model(fit).params
    side = network_stride(params.network)
    example = golden_volume((2 * side,) * 3)[None, None]
    # written by hand, since a signature of the arrays themselves would fix the number of scans and voxels
    shape = (-1, 1, -1, -1, -1)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), shape)]),
        outputs=Schema([TensorSpec(np.dtype("float32"), shape)]),
    )
    with tempfile.TemporaryDirectory() as staging:
        copy_model(fit, Path(staging) / "fit")
        weights = sha256_file(fit / WEIGHTS)
        write_json(Path(staging) / "fit" / QUALITY, quality.to_json(weights))
        # a version carries its own weights, not those of the package
        code = shutil.copytree(
            Path(coronet.__file__).parent,
            Path(staging) / "coronet",
            ignore=shutil.ignore_patterns(FOLDER, "__pycache__"),
        )
        _save(out, Path(staging) / "fit", signature, example, code=code)
    write_json(out / GOLDEN, golden_facts(fit))
    for name, content in files.items():
        if content:
            write_bytes(out / name, content)
    return out


def copy_model(fit: Path, out: Path) -> None:
    """Copy weights, specification, quality and calibration, and nothing else."""
    from coronet.networks.factory import SPEC, WEIGHTS

    out.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, SPEC, QUALITY):
        # older versions carry no quality
        if name != QUALITY or (fit / name).exists():
            shutil.copyfile(fit / name, out / name)
    if (calibration := calibration_path(fit, sha256_file(fit / WEIGHTS))) is not None:
        shutil.copyfile(calibration, out / CALIBRATION)
    if (distribution := distribution_path(fit)) is not None:
        shutil.copyfile(distribution, out / DISTRIBUTION)


def _requirements() -> list[str]:
    """Every direct dependency of the project at the version that is installed here."""
    pinned = []
    for line in importlib.metadata.requires("coronet") or ():
        if "extra ==" in line:
            continue
        name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
        # a local part such as +cpu names a build that other machines do not find
        pinned.append(f"{name}=={importlib.metadata.version(name).partition('+')[0]}")
    return sorted(pinned)


def _save(out: Path, fit: Path, signature: object, example: object, *, code: Path) -> None:
    import mlflow.pyfunc

    mlflow.pyfunc.save_model(
        str(out),
        python_model=str(_SCRIPT),
        artifacts={"fit": str(fit)},
        code_paths=[str(code)],
        signature=signature,
        input_example=example,
        pip_requirements=_requirements(),
    )
    _remove_local_paths(out / "MLmodel")


def _remove_local_paths(path: Path) -> None:
    """Remove the paths of this machine from ``MLmodel``; loading reads the names alone."""
    import yaml

    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    flavour = content["flavors"]["python_function"]
    flavour["model_code_path"] = _SCRIPT.name
    for artifact in flavour["artifacts"].values():
        artifact["uri"] = artifact["path"]
    write_text(path, yaml.safe_dump(content, sort_keys=True))
