"""Whether the words of a DICOM header say that a contrast agent is in the blood.

Technologists and protocols write free text into the contrast tags: brand names, veins, "NO CONTRAST", "W/O",
"ohne KM". The text is split into words; a negation covers the words that follow it up to the next comma.
Words that contradict each other, or that are unknown, decide nothing: then the brightness of blood decides
(`coronet.dataset.quality_flags`).
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from coronet.io.dicom.contrast_words import (
    AFFIRMATIONS,
    AGENT,
    BEGINNINGS,
    BLOOD,
    GENERIC,
    GIVEN,
    JOINING,
    LOCAL,
    LOCAL_AGENT,
    NEGATIONS,
    NONE_AT_ALL,
    OTHER,
    PHRASES,
    ROUTE_CODES,
    UNDECIDED,
    WORDS,
)
from coronet.io.dicom.headers import many
from coronet.text import without_accents

if TYPE_CHECKING:
    from pydicom import Dataset


def contrast_given(datasets: Iterable[Dataset]) -> bool | None:
    """Whether the headers of a series say that a contrast agent was given into the blood.

    Returns:
        True where any header says so, False where the words deny it or name another route, None where they do
        not decide.
    """
    decisions = {_decide(_agents(dataset), _routes(dataset), _amount(dataset)) for dataset in datasets}
    if True in decisions:
        return True
    return False if decisions == {False} else None


@functools.lru_cache(maxsize=1024)
def _decide(agents: tuple[str, ...], routes: tuple[str, ...], amount: float = 0.0) -> bool | None:
    """What texts that name agents and routes say; an amount above 0 says that an agent was given."""
    by_agent, by_route = _findings(agents), _findings(routes)
    if by_agent is None or by_route is None:
        return None
    found = by_agent | by_route
    into_blood, elsewhere = (BLOOD, True) in found, (LOCAL, True) in found
    if (AGENT, True) not in found:
        elsewhere = elsewhere or (LOCAL_AGENT, True) in found
    given = amount > 0 or any((kind, True) in by_agent for kind in (AGENT, GENERIC, GIVEN))
    denied = any((kind, False) in found for kind in (BLOOD, AGENT, GENERIC, GIVEN))
    affirmed = into_blood or (given and not elsewhere and (BLOOD, False) not in found)
    if affirmed:
        return None if denied else True
    return False if denied or elsewhere else None


def _findings(texts: Sequence[str]) -> set[tuple[str, bool]] | None:
    """(kind, affirmed or denied) of all clauses; None where one of them says both."""
    found: set[tuple[str, bool]] = set()
    for text in texts:
        for clause in _clauses(text):
            of_clause = _clause_findings(clause)
            if of_clause is None:
                return None
            found |= of_clause
    return found


def _clauses(text: str) -> list[list[str]]:
    """Words of each clause, in capitals and without accents."""
    plain = unicodedata.normalize("NFC", without_accents(text.strip())).upper()
    if plain in ("Y", "N", "0"):
        return [["YES" if plain == "Y" else "NONE"]]
    plain = re.sub(r"\b(\w)\.(?:\s?(\w)\b\.?)", r"\1\2 ", plain)
    plain = re.sub(r"\bВ\s*/\s*В\b", " ВВ ", plain)
    for pattern, replacement in PHRASES:
        plain = re.sub(pattern, replacement, plain)
    parts = re.split(r"[,;|()\[\]\n\\]|\.(?!\d)|\s-\s|\bBUT\b", plain)
    return [words for part in parts if (words := re.findall(r"[^\W\d_]+|\d+", part))]


def _clause_findings(words: Sequence[str]) -> set[tuple[str, bool]] | None:
    if set(UNDECIDED) & set(words):
        return set()
    scopes: list[tuple[bool | None, list[str]]] = [(None, [])]
    found: set[tuple[str, bool]] = set()
    unclear = False
    for word in words:
        if word in NEGATIONS or word in NONE_AT_ALL:
            scopes.append((False, []))
            unclear = False
            if word in NONE_AT_ALL:
                found.add((GENERIC, False))
        elif word in AFFIRMATIONS:
            scopes.append((True, []))
            unclear = False
        elif word in JOINING:
            # "no oral and IV contrast": whether the negation covers what follows cannot be told
            unclear = scopes[-1][0] is False
        elif not unclear:
            scopes[-1][1].append(_kind(word))
    signs = {sign for sign, _ in scopes}
    if {True, False} <= signs and any(not kinds for sign, kinds in scopes if sign is not None):
        return None
    for place, (sign, kinds) in enumerate(scopes):
        if sign is False:
            found |= _denied(kinds, scopes[place - 1], last=place == len(scopes) - 1)
        elif sign is True and not kinds:
            found.add((GIVEN, True))
    return found | {
        (kind, True)
        for place, (sign, kinds) in enumerate(scopes)
        if sign is not False and not _is_denied_later(scopes, place)
        for kind in kinds
    }


def _denied(
    kinds: Sequence[str], before: tuple[bool | None, list[str]], *, last: bool
) -> set[tuple[str, bool]]:
    """What a negation denies: the words that follow it, or where there are none those before it."""
    if set(kinds) <= {GIVEN}:
        kinds = before[1] if last and before[1] else [GENERIC]
    routes = {kind for kind in kinds if kind in (BLOOD, LOCAL)}
    # "no oral contrast" denies a route and not all contrast
    return {(kind, False) for kind in (routes or set(kinds))}


def _is_denied_later(scopes: Sequence[tuple[bool | None, list[str]]], place: int) -> bool:
    """Whether a negation at the very end speaks of this scope ("IV contrast: not given")."""
    after = scopes[place + 1 :]
    return len(after) == 1 and after[0][0] is False and set(after[0][1]) <= {GIVEN}


def _kind(word: str) -> str:
    whole = (kind for kind, words in WORDS.items() if word in words)
    begun = (kind for kind, beginnings in BEGINNINGS.items() if word.startswith(beginnings))
    return next(itertools.chain(whole, begun), OTHER)


def _texts(dataset: Dataset, keyword: str) -> list[str]:
    return [str(part) for part in many(dataset.get(keyword)) if str(part).strip()]


def _coded(dataset: Dataset, sequence: str) -> list[str]:
    texts = []
    for item in dataset.get(sequence) or []:
        codes = [text for keyword in ("CodeValue", "LongCodeValue") for text in _texts(item, keyword)]
        texts += _texts(item, "CodeMeaning") or [ROUTE_CODES.get(code, "") for code in codes]
    return texts


def _agents(dataset: Dataset) -> tuple[str, ...]:
    return (
        *_texts(dataset, "ContrastBolusAgent"),
        *_coded(dataset, "ContrastBolusAgentSequence"),
        *_texts(dataset, "ContrastBolusIngredient"),
    )


def _routes(dataset: Dataset) -> tuple[str, ...]:
    nested = [
        text
        for item in dataset.get("ContrastBolusAgentSequence") or []
        for text in _coded(item, "ContrastBolusAdministrationRouteSequence")
    ]
    return (
        *_texts(dataset, "ContrastBolusRoute"),
        *_coded(dataset, "ContrastBolusAdministrationRouteSequence"),
        *nested,
    )


def _amount(dataset: Dataset) -> float:
    keywords = ("ContrastBolusVolume", "ContrastBolusTotalDose", "ContrastBolusIngredientConcentration")
    return max((float(text) for keyword in keywords for text in _texts(dataset, keyword)), default=0.0)
