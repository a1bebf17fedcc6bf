"""The model card that belongs to a network, wherever the network lies."""

from __future__ import annotations

from pathlib import Path

from coronet.errors import InputError
from coronet.files import read_json
from coronet.networks.factory import SPEC, load_model
from coronet.registry.bundle import BUNDLED_CARD, measured_metrics
from coronet.registry.model_card import model_card
from coronet.registry.packaging import CARD


def stored_card(model: str, folder: Path) -> str:
    """The card of the network in a folder.

    The networks of the package and registered versions carry one. That of a training in ``build/`` is written
    from its specification and the evaluation of these weights.

    Args:
        model: ``heart`` or ``calcium``.
        folder: as `coronet.registry.resolve_models.resolve_models` gives it.

    Raises:
        InputError: the model is damaged or of the other kind, or the card beside it is of other weights.
        StageError: the folder holds no model.
    """
    folder = Path(folder)
    loaded = load_model(folder)
    if loaded.spec.model != model:
        raise InputError(f"{folder} holds a {loaded.spec.model} network, no {model} network.")
    path = next((folder / name for name in (BUNDLED_CARD, CARD) if (folder / name).exists()), None)
    if path is None:
        tags = {
            "weights_sha256": loaded.sha256,
            "fingerprint": loaded.spec.fingerprint,
            "data_sha256": loaded.spec.data_sha256,
        }
        homes = folder.resolve().parents[2:3]  # of build/<model>/fit
        metrics = measured_metrics(homes[0], loaded) if homes else None
        return model_card(model, read_json(folder / SPEC), metrics=metrics, tags=tags)
    card = path.read_text(encoding="utf-8")
    if loaded.sha256 not in card:
        raise InputError(f"{path} does not name the weights beside it (sha256 {loaded.sha256[:12]}).")
    return card
