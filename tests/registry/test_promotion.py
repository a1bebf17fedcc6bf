"""Aliases move as the log says, whatever kills the process in between, and whoever promotes at once."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from copies import kill_this, run_until_killed
from coronet.dataset.cases import scan_path
from coronet.errors import InputError, LedgerError, PromotionError
from coronet.files import sha256_file
from coronet.io.content_hash import content_sha256
from coronet.io.volume import read_nifti
from coronet.registry import promotion, promotion_log, registration, versions
from coronet.registry.check import check_log
from coronet.registry.version_quality import load_scoring_model
from coronet.tracking import mlflow_client


def aliases(small, model: str = "heart") -> dict[str, int]:
    """As MLflow has them."""
    with mlflow_client.open_client(small.folder / "mlruns") as client:
        return versions.aliases(client, model)


def kinds(small, model: str = "heart") -> list[tuple[str, int]]:
    """The events that the log holds of a model."""
    return [(entry.kind, entry.version) for entry in promotion_log.read(small.folder) if entry.model == model]


def agree(small) -> bool:
    """Whether the chain holds and the aliases follow the log."""
    return check_log(small.folder).ok


@pytest.fixture(scope="module")
def promoted_project(grown_project, copied, tmp_path_factory) -> Path:
    """``heart/2`` is champion and ``heart/1`` the previous one."""
    small = copied(grown_project, tmp_path_factory.mktemp("promoted") / "project")
    assert promotion.promote("heart", small.folder, approved_by=" Zoë  Doe ").moved
    return small.folder


@pytest.fixture
def promoted(promoted_project, copied, tmp_path):
    """The test's own copy."""
    return copied(promoted_project, tmp_path / "project")


def test_the_first_champion_needs_the_word_and_the_floors(small):
    with pytest.raises(
        PromotionError, match="heart has no champion yet; `coronet models promote heart --first`"
    ):
        promotion.promote("heart", small.folder)
    assert kinds(small) == [("registered", 1)]
    done = promotion.promote("heart", small.folder, first=True)
    assert (done.moved, done.champion, done.previous) == (True, 1, None)
    assert aliases(small) == {"champion": 1}
    assert kinds(small) == [("registered", 1), ("promoted", 1)]
    assert agree(small)
    with pytest.raises(PromotionError, match="no challenger; heart/1 is champion"):
        promotion.promote("heart", small.folder)


def test_the_evidence_lies_with_the_run_and_its_figures_in_the_log(promoted, tmp_path):
    entry = promotion_log.read(promoted.folder)[-1]
    assert entry.kind == "promoted"
    assert entry.details["approved_by"] == "Zoë Doe"
    verdict = entry.details["verdict"]
    assert verdict["figures"]["dice"] > 0.9
    assert verdict["comparisons"][0]["finding"] == "better"
    assert verdict["companion"] == "calcium/1 (champion)"
    with mlflow_client.open_client(promoted.folder / "mlruns") as client:
        run = versions.find(client, "heart", "champion").run_id
        folder = Path(client.download_artifacts(run, entry.details["evidence"], str(tmp_path)))
    assert sorted(path.name for path in folder.iterdir()) == ["verdict.json", "verdict.png", "verdict.txt"]
    assert sha256_file(folder / "verdict.json") == entry.details["verdict_sha256"]
    lines = (promoted.folder / "promotions.jsonl").read_text()
    assert "ball-" not in lines
    assert str(promoted.folder) not in lines


def test_a_version_carries_what_it_reached_and_what_the_gate_said(promoted):
    uris = ("models:/heart@champion", str(promoted.folder / "build/heart/fit"))
    carried, built = (load_scoring_model(uri, part="heart", project=promoted.folder).quality for uri in uris)
    assert built.gate == carried.gate
    assert (carried.gate.answer, carried.gate.patients) == ("PROMOTE", 8)
    assert (carried.gate.not_asked, carried.gate.lowered) == (("score_error", "kappa"), ("dice",))
    assert "2 floors were not asked: error of the score" in " ".join(carried.gate.reasons)
    assert carried.evaluation.scans == 8 and carried.evaluation.figures["dice"] > 0.9
    calcium = load_scoring_model("models:/calcium@champion", part="calcium", project=promoted.folder)
    heart = load_scoring_model(uris[0], part="heart", project=promoted.folder)
    assert carried.scores.weights == {"heart": heart.sha256, "calcium": calcium.sha256}
    with mlflow_client.open_client(promoted.folder / "mlruns") as client:
        tags = versions.find(client, "heart", "champion").tags
    assert tags["gate"] == "PROMOTE" and tags["gate_headline"].startswith("PROMOTE, 2 floors were not asked")
    scans = [read_nifti(scan_path(promoted.folder / "data", f"ball-0{number}")) for number in (1, 5, 7)]
    assert [heart.spec.part_of(content_sha256(ct)) for ct in scans] == ["train", "tune", "none"]


def test_what_is_not_promoted_moves_nothing_and_is_told(grown):
    grown.change(megabytes=0.001)
    done = promotion.promote("heart", grown.folder)
    assert (done.moved, done.champion) == (False, 1)
    assert done.verdict.answer == "REJECT"
    assert aliases(grown) == {"champion": 1, "challenger": 2}
    assert kinds(grown)[-1] == ("rejected", 2)
    rejected = load_scoring_model("models:/heart@challenger", part="heart", project=grown.folder)
    assert rejected.quality.gate.answer == "REJECT"
    grown.change(megabytes=None)
    assert promotion.promote("heart", grown.folder).verdict.trial == 2


def test_first_is_for_the_first(grown):
    with pytest.raises(PromotionError, match="heart/1 is one"):
        promotion.promote("heart", grown.folder, first=True)


def test_the_same_weights_again_are_nothing_to_promote(grown):
    grown.train("heart", epochs=1, stop_patience=99)
    assert registration.register_version("heart", grown.folder).version.number == 3
    with pytest.raises(PromotionError, match="heart/3 has the very weights of the champion heart/1"):
        promotion.promote("heart", grown.folder)


def test_a_word_that_is_required_must_be_given(grown):
    grown.change(approval="required")
    with pytest.raises(PromotionError, match="--approve-by"):
        promotion.promote("heart", grown.folder)
    asked = []
    refused = promotion.promote("heart", grown.folder, approve=lambda verdict: asked.append(verdict.answer))
    assert asked == ["PROMOTE"]
    assert (refused.moved, refused.entry.kind) == (False, "rejected")
    assert refused.entry.details["reason"] == "not approved"
    allowed = promotion.promote("heart", grown.folder, approve=lambda verdict: "Zoë")
    assert allowed.moved
    assert allowed.entry.details["approved_by"] == "Zoë"


def test_an_approval_is_awaited_without_the_lock_and_void_once_overtaken(grown):
    overtaken = []

    def approve(verdict):
        overtaken.append(promotion.promote("heart", grown.folder, approved_by="Zoë"))
        return "Noë"

    with pytest.raises(PromotionError, match="changed while the approval|no challenger|nothing to promote"):
        promotion.promote("heart", grown.folder, approve=approve)
    assert overtaken[0].moved
    entries = promotion.history("heart", grown.folder)
    assert entries[-1].details["approved_by"] == "Zoë"
    assert agree(grown)


def test_rollback_there_and_back(promoted):
    assert aliases(promoted) == {"champion": 2, "previous": 1}
    back = promotion.rollback("heart", promoted.folder, reason="looks odd", approved_by="Zoë")
    assert (back.champion, back.previous) == (1, 2)
    assert aliases(promoted) == {"champion": 1, "previous": 2}
    assert promotion.rollback("heart", promoted.folder).champion == 2
    assert aliases(promoted) == {"champion": 2, "previous": 1}
    entries = promotion.history("heart", promoted.folder)
    assert [entry.kind for entry in entries][-3:] == ["promoted", "rolled_back", "rolled_back"]
    assert entries[-2].details["reason"] == "looks odd"
    assert agree(promoted)
    with pytest.raises(PromotionError, match="calcium has no previous champion"):
        promotion.rollback("calcium", promoted.folder)


def test_a_previous_champion_whose_weights_are_spoilt_does_not_come_back(promoted):
    with mlflow_client.open_client(promoted.folder / "mlruns") as client:
        run = versions.find(client, "heart", "previous").run_id
    for path in (promoted.folder / "mlruns" / "artifacts" / "heart" / run).rglob("weights.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    before = promotion_log.read(promoted.folder)
    with pytest.raises(LedgerError):
        promotion.rollback("heart", promoted.folder)
    assert promotion_log.read(promoted.folder) == before
    assert aliases(promoted) == {"champion": 2, "previous": 1}


def test_an_alias_moved_by_hand_is_found_and_stops_a_promotion(grown):
    with mlflow_client.open_client(grown.folder / "mlruns") as client:
        client.set_registered_model_alias("heart", "champion", "2")
    found = check_log(grown.folder)
    assert not found.ok
    assert found.drift == ("MLflow's champion of heart is heart/2, the log's is heart/1.",)
    for verb in (promotion.promote, promotion.rollback):
        with pytest.raises(PromotionError, match="MLflow's champion of heart is heart/2.* moved by hand"):
            verb("heart", grown.folder)
    assert aliases(grown)["champion"] == 2
    with mlflow_client.open_client(grown.folder / "mlruns") as client:
        client.set_registered_model_alias("heart", "champion", "1")
    assert check_log(grown.folder).ok


def test_half_a_line_does_not_stop_a_rollback(promoted):
    with (promoted.folder / "promotions.jsonl").open("a") as lines:
        lines.write('{"details":{"appr')
    assert not check_log(promoted.folder).ok
    assert promotion.rollback("heart", promoted.folder).moved
    assert [entry.kind for entry in promotion_log.read(promoted.folder)][-2:] == ["promoted", "rolled_back"]
    assert agree(promoted)


def test_a_lost_database_is_not_taken_for_a_new_beginning(grown):
    shutil.rmtree(grown.folder / "mlruns")
    found = check_log(grown.folder)
    assert "MLflow's champion of heart is absent, the log's is heart/1." in found.drift
    before = promotion_log.read(grown.folder)
    with pytest.raises(LedgerError, match="another heart/1, which MLflow lacks.* backup"):
        registration.register_version("heart", grown.folder)
    with pytest.raises(PromotionError, match=r"MLflow lacks heart/\d: bring back mlruns/ from its backup"):
        promotion.promote("heart", grown.folder)
    assert promotion_log.read(grown.folder) == before


def test_a_damaged_log_stops_the_promotion(grown):
    path = grown.folder / "promotions.jsonl"
    path.write_text(path.read_text().replace("PROMOTE", "promote"))
    with pytest.raises(InputError, match="was edited"):
        promotion.promote("heart", grown.folder)
    assert aliases(grown) == {"champion": 1, "challenger": 2}


def kill(verb: Callable[..., object], project: Path, step: int) -> None:
    """Run a verb in a process that is killed just before its ``step``-th write."""
    writes = itertools.count(1)

    def counted(function):
        def call(*arguments, **options):
            if next(writes) == step:
                kill_this()
            return function(*arguments, **options)

        return call

    def run() -> None:
        promotion_log.append_bytes = counted(promotion_log.append_bytes)
        for name in ("set_registered_model_alias", "delete_registered_model_alias"):
            setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))
        verb("heart", project)

    run_until_killed(run)


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_rollback_killed_at_any_write_is_finished_by_running_it_again(promoted, step):
    kill(promotion.rollback, promoted.folder, step)
    lines = len(promotion_log.read(promoted.folder))
    assert len(check_log(promoted.folder).unfinished) == (step > 1)
    done = promotion.rollback("heart", promoted.folder)
    assert (done.champion, done.previous) == (1, 2)
    assert aliases(promoted) == {"champion": 1, "previous": 2}
    assert len(promotion_log.read(promoted.folder)) == lines + (step == 1)
    assert agree(promoted)


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_promotion_killed_at_any_write_is_finished_by_running_it_again(grown, forked_coronet, step):
    kill(promotion.promote, grown.folder, step)
    assert len(check_log(grown.folder).unfinished) == (step > 1)
    if step > 1:
        checked = forked_coronet(grown.folder, "models", "check")
        assert checked.returncode == 2 and "run `coronet models promote heart` again" in checked.stdout
    done = forked_coronet(grown.folder, "models", "promote", "heart")
    assert done.returncode == 0 and "heart/2 is champion" in done.stdout, done.stderr
    assert aliases(grown) == {"champion": 2, "previous": 1}
    assert kinds(grown)[-2:] == [("registered", 2), ("promoted", 2)]
    assert agree(grown)


def test_a_rollback_that_was_killed_is_finished_before_a_promotion(promoted):
    with mlflow_client.open_client(promoted.folder / "mlruns") as client:
        before = versions.aliases(client, "heart")
    promotion.rollback("heart", promoted.folder)
    with mlflow_client.open_client(promoted.folder / "mlruns") as client:
        for alias, number in before.items():
            client.set_registered_model_alias("heart", alias, str(number))
    with pytest.raises(PromotionError, match="There is no challenger; heart/1 is champion"):
        promotion.promote("heart", promoted.folder)
    assert aliases(promoted) == {"champion": 1, "previous": 2}


@pytest.mark.slow
def test_promoters_at_once_take_turns(grown):
    command = [Path(sys.executable).parent / "coronet", "models", "promote", "heart", "--json"]
    both = [
        subprocess.Popen(command, cwd=grown.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    results = sorted((*process.communicate(timeout=600), process.returncode) for process in both)
    assert sorted(code for _, _, code in results) == [0, 2], results
    answers = [json.loads(out) for out, _, code in results if code == 0]
    assert answers[0]["champion"] == 2
    assert "There is no challenger; heart/2 is champion" in next(
        error for _, error, code in results if code == 2
    )
    assert kinds(grown).count(("promoted", 2)) == 1
    assert agree(grown)


@pytest.mark.slow
def test_verbs_say_it_by_text_and_exit_code(grown, forked_coronet):
    grown.change(megabytes=0.001)
    rejected = forked_coronet(grown.folder, "models", "promote", "heart")
    assert rejected.returncode == 1, rejected.stderr
    assert "REJECT" in rejected.stdout
    grown.change(megabytes=None)
    assert forked_coronet(grown.folder, "models", "promote", "heart", "--approve-by", "Zoë").returncode == 0
    back = forked_coronet(grown.folder, "models", "rollback", "heart", "--reason", "looks odd", "--json")
    assert json.loads(back.stdout)["champion"] == 1
    history = forked_coronet(grown.folder, "models", "history", "heart", "--json")
    assert [line["event"]["kind"] for line in json.loads(history.stdout)][-2:] == ["promoted", "rolled_back"]
    assert "looks odd" in forked_coronet(grown.folder, "models", "history").stdout
    assert json.loads(forked_coronet(grown.folder, "models", "check", "--json").stdout)["ok"]
    path = grown.folder / "promotions.jsonl"
    path.write_text(path.read_text().replace("looks odd", "looks fine"))
    broken = forked_coronet(grown.folder, "models", "check")
    assert broken.returncode == 2
    assert "was edited" in broken.stdout
    logged = promotion_log.logged_aliases(promotion_log.read(grown.folder), "heart")
    assert logged == {"champion": 1, "previous": 2}
