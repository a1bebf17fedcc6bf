"""What a release of networks is made of: ``releases/recipe.yaml``."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from coronet.config import parse_params
from coronet.config.schema import CheckedValue, InRange, OneOf, build
from coronet.config.strict_yaml import parse_yaml
from coronet.errors import InputError
from coronet.files import sha256_file, write_json
from coronet.io.content_hash import content_sha256
from coronet.io.reader import read_scan
from coronet.real_backgrounds.backgrounds import BackgroundFacts
from coronet.search.adopt import replace_values

_SCAN_SHA256, _HEART_SHA256 = "scan_sha256", "heart_sha256"


@dataclasses.dataclass(frozen=True)
class Phantoms(CheckedValue):
    """Phantoms of one seed."""

    cases: Annotated[int, InRange(1, 9999)]
    seed: Annotated[int, InRange(0, 2**32 - 1)]
    ranges: Annotated[str, OneOf(("realistic", "wild", "mixed"))]
    masks: Annotated[str, OneOf(("exact", "forest"))]


@dataclasses.dataclass(frozen=True)
class Source:
    """A real scan that calcium is drawn into."""

    facts: BackgroundFacts
    scan_sha256: str  # `coronet.io.content_hash.content_sha256` of the scan
    heart_sha256: str  # of the file of its heart mask


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All that a release depends on beside the code.

    Attributes:
        version: of Coronet that the networks come with.
        params: values in place of those in ``params.yaml``, by dotted key.
        phantoms: in the order in which they are drawn.
        sources: by name.
    """

    version: str
    params: Mapping[str, Any]
    phantoms: tuple[Phantoms, ...]
    sources: Mapping[str, Source]

    def params_text(self, text: str) -> str:
        """A ``params.yaml`` with the recipe's values in it, checked."""
        found = replace_values(text, self.params)
        parse_params(found.encode(), where="params.yaml with the values of the recipe")
        return found


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        InputError: it cannot be read, or lacks a key.
        ParamsError: a value is not allowed.
    """
    path = Path(path)
    try:
        raw = parse_yaml(path.read_bytes(), str(path)).value
        sources = {}
        for name, entry in (raw["backgrounds"] or {}).items():
            facts = {key: value for key, value in entry.items() if key not in (_SCAN_SHA256, _HEART_SHA256)}
            sources[name] = Source(
                build(BackgroundFacts, facts, where=f"{path}: {name}"),
                entry[_SCAN_SHA256],
                entry[_HEART_SHA256],
            )
        phantoms = tuple(build(Phantoms, item, where=f"{path}: phantoms") for item in raw["phantoms"])
        return Recipe(str(raw["version"]), raw["params"], phantoms, sources)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no recipe of a release ({type(error).__name__}: {error}).") from error


def copy_backgrounds(recipe: Recipe, folder: Path, to: Path) -> None:
    """Copy the recipe's scans and heart masks, and write the file beside each that says what it is.

    Args:
        folder: holds scans and heart masks under the names of the recipe.
        to: gets them; files that are there are replaced.

    Raises:
        InputError: a file is absent, or is not the one of the recipe; nothing is copied then.
        UnreadableScan: a scan cannot be read.
    """
    for name, source in recipe.sources.items():
        scan, heart = folder / source.facts.scan, folder / source.facts.heart
        for path in (scan, heart):
            if not path.exists():
                raise InputError(f"{path} is absent, which the recipe's background {name} needs.")
        found = {scan: content_sha256(read_scan(scan).volume), heart: sha256_file(heart)}
        for path, asked in ((scan, source.scan_sha256), (heart, source.heart_sha256)):
            if found[path] != asked:
                raise InputError(
                    f"{path} is not what the recipe's background {name} was: its sha256 is {found[path]}, "
                    f"and the recipe has {asked}."
                )
    to.mkdir(parents=True, exist_ok=True)
    for name, source in recipe.sources.items():
        for part in (source.facts.scan, source.facts.heart):
            if (folder / part).is_dir():
                shutil.copytree(folder / part, to / part, dirs_exist_ok=True)
            else:
                shutil.copyfile(folder / part, to / part)
        facts = dataclasses.asdict(source.facts).items()
        write_json(to / f"{name}.json", {key: value for key, value in facts if value not in ("", None)})
