"""A study's winner goes into ``params.yaml``, with the evidence in a file that git keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from coronet import config
from coronet.config import ModelParams
from coronet.config.strict_yaml import parse_yaml
from coronet.errors import ParamsError, SearchError
from coronet.files import write_json, write_text
from coronet.fingerprint import canonical
from coronet.search import database, space
from coronet.search.study_plan import check_bound, make_study_plan
from coronet.search.study_record import read_study
from coronet.tracking.git_state import GitState, read_git_state
from coronet.tracking.study_runs import StudyRecord, TrialRecord

_PARAMS, _STUDIES = "params.yaml", "studies"
_PLACES = (
    ("network", "encoder"),
    ("network", "channels"),
    ("network", "activation"),
    ("network", "weights"),
    ("loss", "dice"),
    ("loss", "focal"),
    ("loss", "focal_gamma"),
    ("optimiser", "learning_rate"),
)
"""What an adoption may change of a model's parameters."""


@dataclasses.dataclass(frozen=True)
class Change:
    """One value of ``params.yaml``; ``key`` is its dotted place."""

    key: str
    before: Any
    after: Any


@dataclasses.dataclass(frozen=True)
class Adopted:
    """What an adoption did."""

    study: str  # its name
    model: str  # `heart` or `calcium`
    trial: int  # the winner's number
    metric: str  # what the winner is best in
    value: float  # the winner's
    cases: str  # on how many held-out cases, in words
    changes: tuple[Change, ...]  # in `params.yaml`; empty where it held the winner already
    evidence: Path  # the file that says where the values come from


def adopt(study: str, project: Path = Path(), *, storage: str | None = None) -> Adopted:
    """Write the winner of a study into ``params.yaml`` and the evidence into ``studies/STUDY.json``.

    Only the values that differ are replaced; every other byte of the file stays.

    Raises:
        SearchError: there is no such study or no winner, the study is of other data or parameters, or
            ``params.yaml`` holds edits that git does not have.
    """
    project = Path(project)
    found = database.find_study(study, project, storage)
    result = read_study(found)
    best = result.best
    if best is None or best.value is None:
        raise SearchError(f'No trial of the study "{study}" came to a value; there is nothing to adopt.')
    params = config.load_params(project / _PARAMS)
    wanted = space.apply(best.drawn, params.model(result.model))
    text = (project / _PARAMS).read_text(encoding="utf-8")
    changes = _changes(params.model(result.model), wanted, params.profile, result.model)
    evidence = project / _STUDIES / f"{study}.json"
    adopted = Adopted(
        study=study,
        model=result.model,
        trial=best.number,
        metric=result.metric,
        value=best.value,
        cases=result.cases,
        changes=changes,
        evidence=evidence.relative_to(project),
    )
    if not changes:
        return adopted
    plan = make_study_plan(result.model, project)
    bound = found.user_attrs[database.BOUND]
    check_bound(plan, study, bound, ignore=("space", "code", "folds"))
    code = read_git_state(project)
    if _PARAMS in code.changed:
        raise SearchError(
            f"{_PARAMS} holds edits that git does not have; commit them or set them aside (`git stash`), "
            "then adopt."
        )
    new = replace_values(text, {change.key: change.after for change in changes})
    _check_edit(text, new, changes)
    config.parse_params(new.encode(), where=f"{_PARAMS} with the winner")
    write_json(evidence, _evidence(result, best, changes, bound, code))
    write_text(project / _PARAMS, new)
    return adopted


def replace_values(text: str, values: Mapping[str, Any]) -> str:
    """Put values into a YAML text at their dotted places and leave all else, comments too, as it is.

    A comment behind a value keeps its column where there is room; a list stays on one line or on many.

    Raises:
        ParamsError: a place is not there, or replacing its lines would lose comments between them.
    """
    from ruamel.yaml import YAML

    root = YAML().compose(text)
    edits = []
    for key, value in values.items():
        node = root
        for name in key.split("."):
            pairs = {item.value: child for item, child in node.value} if node.id == "mapping" else {}
            if name not in pairs:
                raise ParamsError(f'{_PARAMS}: the key "{key}" is missing.')
            node = pairs[name]
        edits += _edits(text, key, node, value)
    for start, end, new in sorted(edits, reverse=True):
        text = _replace(text, start, end, new)
    return text


def _edits(text: str, key: str, node: Any, value: Any) -> list[tuple[int, int, str]]:
    """Start, end and new text of what must be replaced to put ``value`` into ``node``."""
    if node.id == "scalar" or node.flow_style:
        return [(node.start_mark.index, node.end_mark.index, _yaml(value))]
    if node.id == "mapping" or not isinstance(value, list | tuple) or not value:
        raise ParamsError(f'{_PARAMS}: "{key}" has lines of its own; write by hand: {_yaml(value)}.')
    if len(node.value) == len(value):
        pairs = zip(node.value, value, strict=True)
        return [edit for child, item in pairs for edit in _edits(text, key, child, item)]
    # the mark at the end of such a list lies behind its line break, at the next key
    start, end = node.start_mark.index, node.value[-1].end_mark.index
    if "#" in text[start:end]:
        raise ParamsError(
            f'{_PARAMS}: comments lie between the lines of "{key}"; write by hand: {_yaml(value)}.'
        )
    between = "\n" + " " * node.start_mark.column
    return [(start, end, between.join(f"- {_yaml(item)}" for item in value))]


def _replace(text: str, start: int, end: int, new: str) -> str:
    length = len(text[start:end].rpartition("\n")[2])
    rest = text[end:]
    gap = len(rest) - len(rest.lstrip(" "))
    if rest[gap : gap + 1] == "#":
        rest = " " * max(1, gap + length - len(new.rpartition("\n")[2])) + rest[gap:]
    return text[:start] + new + rest


def _yaml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_yaml(item) for item in value)}]"
    # programs that read YAML 1.1 take 1e-05 for text; fixed point is a number in every version
    return format(Decimal(repr(value)), "f") if isinstance(value, float) else str(value)


def _changes(present: ModelParams, wanted: ModelParams, profile: str, model: str) -> tuple[Change, ...]:
    found = []
    for part, name in _PLACES:
        before, after = (canonical(getattr(getattr(item, part), name)) for item in (present, wanted))
        if before != after:
            found.append(Change(f"profiles.{profile}.{model}.{part}.{name}", before, after))
    return tuple(found)


def _check_edit(before: str, after: str, changes: tuple[Change, ...]) -> None:
    """Refuse an edit that would change anything else, as it would where YAML aliases share a value."""
    expected = parse_yaml(before.encode(), _PARAMS).value
    try:
        found = parse_yaml(after.encode(), _PARAMS).value
    except ParamsError:
        found = None
    for change in changes:
        *path, last = change.key.split(".")
        place = expected
        for name in path:
            place = place[name]
        place[last] = change.after
    if expected != found:
        raise SearchError(
            f"{_PARAMS} cannot be edited without touching other values (anchors?); write by hand: "
            + ", ".join(f"{change.key}: {change.after}" for change in changes)
        )


def _evidence(
    result: StudyRecord,
    best: TrialRecord,
    changes: tuple[Change, ...],
    bound: Mapping[str, str],
    code: GitState,
) -> dict[str, Any]:
    first = result.trials[0]
    return {
        "study": result.name,
        "model": result.model,
        "fingerprint": result.fingerprint,
        "bound": dict(bound),
        "commit": code.commit or None,
        "metric": result.metric,
        "held_out_cases": sum(result.held_out),
        "held_out_cases_by_fold": list(result.held_out),
        "trials": {
            state: sum(trial.state == state for trial in result.trials)
            for state in sorted({trial.state for trial in result.trials})
        },
        "epochs": sum(trial.epochs for trial in result.trials),
        "winner": {"trial": best.number, "value": best.value, "drawn": canonical(best.drawn)},
        "first_trial": {"value": first.value, "drawn": canonical(first.drawn)},
        "changes": [dataclasses.asdict(change) for change in changes],
    }
