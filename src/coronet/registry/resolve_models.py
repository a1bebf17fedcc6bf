"""Which heart and which calcium network a command means by ``--models``."""

from __future__ import annotations

import os
import re
from pathlib import Path

from coronet.config import MODELS, check_project
from coronet.errors import InputError
from coronet.networks.bundled import BUNDLED, bundled_folder
from coronet.registry import versions
from coronet.registry.versions import CHALLENGER, CHAMPION
from coronet.tracking import mlflow_client

_USAGE = (
    "--models takes bundled, build, champion, challenger, or heart=URI,calcium=URI, where a URI is a folder, "
    "bundled, models:/heart@champion or models:/heart/3"
)


def resolve_models(text: str = BUNDLED, project: Path = Path()) -> dict[str, Path]:
    """The folder of the heart and of the calcium network that ``text`` names.

    Args:
        text: ``bundled`` (the networks in the package), ``build`` (the trainings in ``build/``),
            ``champion``, ``challenger`` (the champion stands in for a model without a challenger), or
            ``heart=URI,calcium=URI``, where a URI is a folder, ``bundled``, ``models:/heart@champion`` or
            ``models:/heart/3``. A part that is not named comes from ``build/``.
        project: the folder of ``build/`` and ``mlruns/``.

    Raises:
        InputError: the text is not understood, or there is no such version.
        LedgerError: MLflow cannot be reached, or the bytes of a version are lost.
    """
    project = Path(project)
    found = {model: str(project / "build" / model / "fit") for model in MODELS}
    if text in (CHAMPION, CHALLENGER):
        found = _by_alias(text, project)
    elif text == BUNDLED:
        found = {model: str(bundled_folder(model)) for model in MODELS}
    elif text != "build":
        found |= _parse_parts(text)
    return {model: versions.resolve(where, project) for model, where in found.items()}


def _by_alias(alias: str, project: Path) -> dict[str, str]:
    if "MLFLOW_TRACKING_URI" not in os.environ:
        check_project(project)
    with mlflow_client.open_client(project / "mlruns") as client:
        named = {model: versions.aliases(client, model) for model in MODELS}
    if alias == CHALLENGER and not any(CHALLENGER in aliases for aliases in named.values()):
        raise InputError("--models challenger: neither heart nor calcium has a challenger now.")
    chosen = {model: alias if alias in aliases else CHAMPION for model, aliases in named.items()}
    for model, name in chosen.items():
        if name not in named[model]:
            raise InputError(
                f"--models {alias}: {model} has no {name} yet; `coronet models promote {model} --first` "
                "makes the first champion."
            )
    return {model: f"models:/{model}@{name}" for model, name in chosen.items()}


def _parse_parts(text: str) -> dict[str, str]:
    """``heart=URI,calcium=URI`` as a mapping; a folder's name may hold commas."""
    found: dict[str, str] = {}
    for item in re.split(rf",(?=(?:{'|'.join(MODELS)})=)", text):
        model, _, where = item.partition("=")
        if model not in MODELS or not where or model in found:
            raise InputError(f"--models {text}: {item or 'nothing'} is not understood. {_USAGE}.")
        parsed = versions.URI.fullmatch(where)
        if where.startswith("models:") and (parsed is None or parsed["model"] != model):
            raise InputError(f"--models {text}: {where} names no version of {model}. {_USAGE}.")
        found[model] = str(bundled_folder(model)) if where == BUNDLED else where
    return found
