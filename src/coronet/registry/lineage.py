"""One version's way back to code, parameters, data and people, as text and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from coronet.registry.promotion_log import PROMOTED, LogEntry


@dataclasses.dataclass(frozen=True)
class Difference:
    """A parameter; ``default`` is None where the file does not have it."""

    key: str
    value: Any
    default: Any


@dataclasses.dataclass(frozen=True)
class Lineage:
    """One version's way back."""

    name: str  # such as `heart/3`
    aliases: tuple[str, ...]  # that it bears now
    fingerprint: str  # of the training
    weights_sha256: str
    commit: str  # that it was registered from
    changed: tuple[str, ...]  # files that differed from the commit
    patch: str  # what differed, for `git apply`; empty where nothing did
    since: tuple[Difference, ...]  # parameters that differ from `params.yaml` as it is now
    uncommitted: tuple[Difference, ...]  # parameters that differ from `params.yaml` at the commit
    data: Mapping[str, str]  # DVC's md5 by path
    validation: Mapping[str, Any]  # what the report says, and its hash
    split: Mapping[str, Any]  # how many scans are in each part, and DVC's md5
    figures: Mapping[str, float]  # of the stage evaluate, when it was registered
    moves: tuple[LogEntry, ...]  # lines of the log about it: rejected, promoted, rolled back
    rebuild: tuple[str, ...]  # commands that make it again
    missing: tuple[str, ...]  # what could not be found, a sentence each

    def lines(self) -> list[str]:
        """As text."""
        named = f" ({', '.join(self.aliases)})" if self.aliases else ""
        dirty = f" with {len(self.changed)} files changed: {', '.join(self.changed)}" if self.changed else ""
        facts = {
            "fingerprint": self.fingerprint,
            "weights": self.weights_sha256,
            "commit": f"{self.commit or 'none'}{dirty}",
            **{path: md5 for path, md5 in self.data.items()},
            "validation": _one_line(self.validation),
            "split": _one_line(self.split),
            "figures": _one_line(self.figures) or "not evaluated when it was registered",
        }
        found = [f"{self.name}{named}", *(f"  {key:<12} {value}" for key, value in facts.items())]
        for title, items in (
            ("not as params.yaml is now", self.since),
            ("not as params.yaml was at the commit", self.uncommitted),
        ):
            found += [f"  {title}:"] if items else []
            found += [f"    {item.key}: {item.value} (there {item.default})" for item in items]
        found += ["  parameters as params.yaml has them now"] if not self.since and not self.missing else []
        found += [f"  {entry.time}  {self._move(entry)}" for entry in self.moves]
        found += [f"  {sentence}" for sentence in self.missing]
        return [*found, "  to make it again:", *(f"    {command}" for command in self.rebuild)]

    def _move(self, entry: LogEntry) -> str:
        """A line of the log from this version's side."""
        details = entry.details
        approval = f", approved by {details['approved_by']}" if details.get("approved_by") else ""
        reasons = (details.get("reason"), *details.get("verdict", {}).get("reasons", ()))
        why = " ".join(filter(None, reasons)) or "no reason given"
        if f"{entry.model}/{entry.version}" == self.name:
            return f"{entry.kind.replace('_', ' ')}{approval}: {why}"
        other = f"{entry.model}/{entry.version}"
        return f"{'followed by' if entry.kind == PROMOTED else 'rolled back to'} {other}{approval}: {why}"


def _one_line(facts: Mapping[str, Any]) -> str:
    """Names and values in one line."""
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in facts.items()
    )
