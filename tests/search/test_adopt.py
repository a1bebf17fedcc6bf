"""Adoption: only the values change, and the evidence says where they come from."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from coronet import config
from coronet.errors import ParamsError, SearchError
from coronet.search import database, space
from coronet.search.adopt import adopt, replace_values
from coronet.search.study import run_study
from coronet.search.study_record import read_study
from repositories import commit, git

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


def changed_lines(before: str, after: str) -> list[str]:
    """Lines of ``after`` that are not in ``before``, without their marks."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line[1:] for line in lines if line.startswith("+") and not line.startswith("+++")]


def test_values_are_replaced_and_nothing_else():
    before = PARAMS.read_text()
    after = replace_values(
        before,
        {
            "profiles.demo.heart.network.encoder": "efficientnet-b0",
            "profiles.demo.calcium.network.channels": [8, 16, 32],
            "profiles.demo.heart.optimiser.learning_rate": 0.00005,
            "seed": 7,
        },
    )
    assert changed_lines(before, after) == [
        "seed: 7                          # every random draw derives from it",
        "        encoder: efficientnet-b0 # plain, autoencoder, or an smp-3d encoder (`coronet encoders`)",
        "        learning_rate: 0.00005",
        "        channels: [8, 16, 32]",
    ]
    assert len(before.splitlines()) == len(after.splitlines())


@pytest.mark.parametrize("channels", [[8, 16, 32], [8, 16, 32, 64, 128, 256, 512]])
def test_a_list_on_lines_of_its_own_stays_one(channels):
    before = yaml.safe_load(PARAMS.read_text())
    text = yaml.safe_dump(before, sort_keys=False)
    places = {f"profiles.demo.{model}.network.channels": channels for model in ("heart", "calcium")}
    after = replace_values(text, places)
    for model in ("heart", "calcium"):
        before["profiles"]["demo"][model]["network"]["channels"] = list(channels)
    assert after == yaml.safe_dump(before, sort_keys=False)


def test_comments_between_the_lines_of_a_list_are_kept_or_the_edit_is_refused():
    text = "a:\n  b: # outermost first\n    - 4   # four\n    # then\n    - 8 # eight\n  # of c\n  c: 1\n"
    assert replace_values(text, {"a.b": [16, 32]}) == text.replace("4   #", "16  #").replace("8 #", "32 #")
    with pytest.raises(ParamsError, match=r'comments lie between .* "a.b"; write by hand: \[1, 2, 3\]'):
        replace_values(text, {"a.b": [1, 2, 3]})
    plain = text.replace("   # four\n    # then", "")
    after = "a:\n  b: # outermost first\n    - 1\n    - 2\n    - 3 # eight\n  # of c\n  c: 1\n"
    assert replace_values(plain, {"a.b": [1, 2, 3]}) == after
    with pytest.raises(ParamsError, match='"a.b" has lines of its own'):
        replace_values(text, {"a.b": 1})


def test_a_place_that_is_not_there_is_named():
    with pytest.raises(ParamsError, match=r"seed\.of\.what"):
        replace_values(PARAMS.read_text(), {"seed.of.what": 1})


def test_the_winner_goes_into_the_file_with_its_evidence(searched):
    result = read_study(database.find_study("mine", searched))
    before = (searched / "params.yaml").read_text()
    expected = space.apply(result.best.drawn, config.load_params(searched / "params.yaml").heart)

    adopted = adopt("mine", searched)
    assert config.load_params(searched / "params.yaml").heart == expected
    after = (searched / "params.yaml").read_text()
    assert len(changed_lines(before, after)) == len(adopted.changes) > 0
    assert before.count("#") == after.count("#")
    assert (adopted.metric, adopted.cases) == ("held-out dice", "2 held-out training cases")
    evidence = json.loads((searched / adopted.evidence).read_text())
    assert evidence["winner"]["value"] == result.best.value
    assert evidence["held_out_cases"] == 2
    assert evidence["trials"] == dict(Counter(trial.state for trial in result.trials))
    assert evidence["commit"] == git(searched, "rev-parse", "HEAD")
    assert str(searched) not in (searched / adopted.evidence).read_text()

    assert adopt("mine", searched).changes == ()
    assert (searched / "params.yaml").read_text() == after
    # The study goes on after its winner was adopted.
    assert run_study("heart", searched, trials=3, name="mine", track=False) == result


def test_a_users_edit_is_not_written_over(searched):
    edited = (searched / "params.yaml").read_text() + "# my thoughts\n"
    (searched / "params.yaml").write_text(edited)
    with pytest.raises(SearchError, match="edits that git does not have"):
        adopt("mine", searched)
    assert (searched / "params.yaml").read_text() == edited
    assert not (searched / "studies").exists()


def test_values_that_an_anchor_shares_are_not_touched(searched):
    text = (searched / "params.yaml").read_text()
    first, second = text.index("activation: selu"), text.rindex("activation: selu")
    assert first < second
    shared = text[:first] + "activation: &act selu" + text[first + len("activation: selu") : second]
    shared += "activation: *act" + text[second + len("activation: selu") :]
    (searched / "params.yaml").write_text(shared)
    commit(searched, "edit")
    with pytest.raises(SearchError, match=r"without touching other values .* by hand: .*activation: relu"):
        adopt("mine", searched)
    assert (searched / "params.yaml").read_text() == shared


def test_a_winner_of_other_data_or_parameters_is_refused(searched):
    text = replace_values((searched / "params.yaml").read_text(), {"profiles.demo.heart.threshold": 0.6})
    (searched / "params.yaml").write_text(text)
    commit(searched, "edit")
    with pytest.raises(SearchError, match="another parameters"):
        adopt("mine", searched)


def test_an_unknown_study_is_refused_with_those_there_are(searched):
    with pytest.raises(SearchError, match='no study "yours"; there are: mine'):
        adopt("yours", searched)
