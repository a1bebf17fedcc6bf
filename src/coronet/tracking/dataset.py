"""The cohort as MLflow's pages show it: a dataset whose source is DVC."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.data.dataset_source import DatasetSource

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput


class DvcSource(DatasetSource):
    """Folders by DVC's md5; the bytes are in DVC's cache or remote."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = dict(hashes)

    @staticmethod
    def _get_source_type() -> str:
        return "dvc"

    def load(self, dst_path: str | None = None) -> str:
        """Bring the folders back from DVC's cache or remote into ``dst_path`` or a new temporary folder."""
        import tempfile

        from coronet.errors import InputError
        from coronet.tracking.dvc_lock import fetch_tree

        target = Path(dst_path or tempfile.mkdtemp(prefix="coronet-"))
        for path, md5 in self._hashes.items():
            if not fetch_tree(Path(), md5, target / path):
                raise InputError(f"DVC holds no {path} with the md5 {md5}; `dvc pull` may bring it.")
        return str(target)

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> DvcSource:
        raise NotImplementedError(f"{raw_source} names no DVC data")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for MLflow's database."""
        return {"md5": self._hashes}

    @classmethod
    def from_dict(cls, source_dict: dict[str, Any]) -> DvcSource:
        """What `to_dict` gave."""
        return cls(source_dict["md5"])


def dataset_input(dataset: Mapping[str, Any]) -> DatasetInput:
    """The cohort as an input of a run, from ``hashes`` of DVC by path and ``cases`` by source."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = DvcSource(dataset["hashes"])
    text = json.dumps(dataset["hashes"], sort_keys=True)
    entity = Dataset(
        name="cohort",
        digest=hashlib.sha256(text.encode()).hexdigest()[:32],
        source_type=source._get_source_type(),
        source=source.to_json(),
        profile=json.dumps({"cases": dataset["cases"]}, sort_keys=True),
    )
    return DatasetInput(entity, [InputTag("mlflow.data.context", "training")])
