"""The gate: what it asks, when it measures, and its three answers."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from coronet import config
from coronet.dataset.split import read_split, write_split
from coronet.errors import PromotionError
from coronet.evaluation.paired_tests import compare_paired
from coronet.files import read_json, sha256_file, write_json
from coronet.fingerprint import dvc_md5
from coronet.registry import gate, registration, versions
from coronet.registry.candidate_evaluation import CandidateEvaluation
from coronet.registry.verdict import PROMOTE, REJECT, UNDECIDED, Check, decide_verdict
from coronet.tracking import mlflow_client

GATE = config.load_params().gate
FINE = Check("weights", True, "ab", "ab")


def judge(small, model: str = "heart"):
    """The verdict on the challenger, as `promote` asks for it."""
    with mlflow_client.open_client(small.folder / "mlruns") as client:
        candidate, champion = (versions.find(client, model, name) for name in ("challenger", "champion"))
    return gate.evaluate_gate(small.folder, candidate, champion, small.params)


def paired(gains, *, margin=0.02, name="dice", up=True):
    """A comparison with these gains."""
    sign = 1 if up else -1
    old = {f"p{number}": 0.5 for number in range(len(gains))}
    new = {f"p{number}": 0.5 + sign * gain for number, gain in enumerate(gains)}
    return compare_paired(name, old, new, margin=margin, level=0.05, resamples=500, higher_is_better=up)


CLEAR_GAIN = [0.05 + number / 100 for number in range(8)]
CLEAR_LOSS = [-gain for gain in CLEAR_GAIN]
NOTHING = [0.001 * (-1) ** number for number in range(10)]
NOISE = [0.3, -0.2, 0.25, -0.3, 0.1, -0.15, 0.2, -0.1]


@pytest.mark.parametrize(
    ("demand", "gains", "answer"),
    [
        ("better", CLEAR_GAIN, PROMOTE),
        ("better", CLEAR_GAIN[:5], UNDECIDED),
        ("better", CLEAR_LOSS, REJECT),
        ("better", NOTHING, REJECT),
        ("better", NOISE, UNDECIDED),
        ("better", [0.0] * 10, REJECT),
        ("not_worse", CLEAR_GAIN, PROMOTE),
        ("not_worse", NOTHING, PROMOTE),
        ("not_worse", NOTHING[:5], UNDECIDED),
        ("not_worse", CLEAR_LOSS, REJECT),
        ("not_worse", NOISE, UNDECIDED),
    ],
)
def test_answers_follow_from_the_paired_differences(demand, gains, answer):
    found, reasons = decide_verdict([FINE], [paired(gains)], dataclasses.replace(GATE, demand=demand))
    assert found == answer
    assert all(reasons)


def test_too_few_patients_are_told_how_many_it_takes():
    answer, reasons = decide_verdict([FINE], [paired(CLEAR_GAIN[:4])], GATE)
    assert answer == UNDECIDED
    assert "4 patients cannot give a p below 0.125; it takes at least 6" in " ".join(reasons)
    answer, reasons = decide_verdict([FINE], [paired([0.3, -0.2, 0.25, -0.1, 0.1, 0.15, 0.2, -0.1])], GATE)
    assert answer == UNDECIDED
    assert "test patients would show it" in " ".join(reasons)


def test_a_guard_rejects_only_what_is_shown_and_matters():
    gain = paired(CLEAR_GAIN)
    shown = paired(CLEAR_LOSS, margin=0.01, name="score", up=False)
    assert shown.finding == "worse"
    assert decide_verdict([FINE], [gain, shown], GATE)[0] == REJECT
    small = paired(CLEAR_LOSS, margin=0.2, name="score", up=False)
    assert decide_verdict([FINE], [gain, small], GATE)[0] == PROMOTE
    few = paired([-5.0, -6.0, -7.0], margin=1.0, name="false_mm3", up=False)
    assert decide_verdict([FINE], [gain, few], GATE)[0] == PROMOTE


def test_what_fails_rejects_and_what_nobody_knows_cannot_promote():
    failed, unknown = Check("Dice", False, "0.2", "at least 0.9"), Check("κ", None, "no patient has it")
    gain = paired(CLEAR_GAIN)
    assert decide_verdict([FINE, failed], [gain], GATE) == (REJECT, ("Dice: 0.2, wanted at least 0.9.",))
    assert decide_verdict([failed, unknown], [], GATE)[0] == REJECT
    assert decide_verdict([FINE, unknown], [gain], GATE)[0] == UNDECIDED
    assert decide_verdict([FINE, unknown], [], GATE)[0] == UNDECIDED
    assert decide_verdict([FINE], [], GATE)[0] == PROMOTE


def test_floors_are_those_of_the_params_and_none_asks_for_nothing():
    figures = {"dice": 0.95, "score_error": 40.0, "kappa": None, "seconds": 5.0, "megabytes": 900.0}
    asked = dataclasses.replace(GATE, seconds=None, megabytes=500.0, score_error=40.0, kappa=0.5)
    checks = {
        check.name: check.ok
        for check in gate.check_floors(CandidateEvaluation(figures, {}, 8), asked, "heart")
    }
    assert checks == {
        "gate.heart.dice: Dice": True,
        "gate.score_error: error of the score": True,
        "gate.kappa: linear κ of the risk groups": None,
        "gate.megabytes: megabytes": False,
    }


def test_calcium_free_patients_guard_and_do_not_decide():
    def evidence(dice: float, false: float) -> CandidateEvaluation:
        patients = {
            "dice": {f"p{number}": dice + number / 1000 for number in range(6)},
            "false_mm3": {"p6": false, "p7": false},
            "score": {f"p{number}": 0.1 for number in range(8)},
        }
        return CandidateEvaluation({}, patients, 8)

    found = gate.compare_all(evidence(0.5, 0.0), evidence(0.7, 9.0), GATE, "calcium")
    assert [(item.name, len(item.patients)) for item in found] == [
        ("dice", 6),
        ("false_mm3", 2),
        ("score", 8),
    ]
    assert [item.finding for item in found] == ["better", "open", "alike"]
    assert found[1].mean == -9.0
    none = CandidateEvaluation({}, {"dice": {}, "false_mm3": {}, "score": {"p1": 0.1}}, 1)
    assert gate.compare_all(none, none, GATE, "calcium") == ()


def test_a_better_challenger_is_promoted_on_the_same_patients(grown, tmp_path):
    verdict = judge(grown)
    assert verdict.answer == PROMOTE
    assert (verdict.version, verdict.champion, verdict.companion) == (2, 1, "calcium/1 (champion)")
    assert (verdict.patients, verdict.trial) == (8, 2)
    decisive = verdict.comparisons[0]
    assert (decisive.name, decisive.finding, decisive.p) == ("dice", "better", 2 / 2**8)
    assert set(decisive.patients) == set(read_split(grown.folder / "build" / "split.json").cases("test"))
    assert verdict.challenger.figures["dice"] == pytest.approx(sum(decisive.challenger) / 8)

    gate.write_verdict(tmp_path, verdict)
    assert read_json(tmp_path / "verdict.json")["answer"] == PROMOTE
    assert (tmp_path / "verdict.png").read_bytes().startswith(b"\x89PNG")
    assert "the challenger is better" in (tmp_path / "verdict.txt").read_text()
    assert str(grown.folder) not in (tmp_path / "verdict.json").read_text()

    # measured again, the same but for the seconds; floors are asked of a champion's successor too
    grown.change(megabytes=0.001)
    again = judge(grown)
    assert again.answer == REJECT
    assert "gate.megabytes: megabytes: 0.07562, wanted at most 0.001." in again.reasons
    assert again.comparisons == verdict.comparisons
    one, two = verdict.challenger.figures, again.challenger.figures
    assert {name for name in one if one[name] != two[name]} <= {"seconds"}


def spoil_weights(small) -> None:
    for path in (small.folder / "mlruns" / "artifacts" / "heart").rglob("weights.safetensors"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)


def spoil_data(small) -> None:
    next(iter(sorted((small.folder / "data" / "ct").glob("*.nii.gz")))).write_bytes(b"another scan")


def spoil_masks(small) -> None:
    (small.folder / "data" / "masks" / "note.txt").write_text("one more file")


def fail_validation(small) -> None:
    path = small.folder / "build" / "validation" / "report.json"
    write_json(path, read_json(path) | {"ok": False})


def lose_validation(small) -> None:
    shutil.rmtree(small.folder / "build" / "validation")


def spoil_golden(small) -> None:
    for path in (small.folder / "mlruns" / "artifacts" / "heart").rglob("golden.json"):
        golden = json.loads(path.read_text())
        write_json(path, golden | {"samples": [value + 0.01 for value in golden["samples"]]})


@pytest.mark.parametrize(
    ("spoil", "failing"),
    [
        (spoil_weights, "heart/1: bytes"),
        (spoil_data, "heart/1: data/ct"),
        (spoil_masks, "heart/1: data/masks"),
        (fail_validation, "heart/1: data validation"),
        (lose_validation, "heart/1: data validation"),
        (spoil_golden, "heart/1: answer on the golden volume"),
    ],
)
def test_nothing_is_measured_where_the_lineage_does_not_hold(small, spoil, failing):
    spoil(small)
    verdict = judge(small)
    assert verdict.answer == REJECT
    assert [check.name for check in verdict.checks if check.ok is False] == [failing]
    assert verdict.challenger is None


def test_a_champion_that_is_not_what_it_was_leaves_the_question_open(grown):
    with mlflow_client.open_client(grown.folder / "mlruns") as client:
        run = versions.find(client, "heart", "champion").run_id
    [path] = (grown.folder / "mlruns" / "artifacts" / "heart" / run).rglob("golden.json")
    golden = json.loads(path.read_text())
    write_json(path, golden | {"samples": [value + 0.01 for value in golden["samples"]]})
    verdict = judge(grown)
    assert verdict.answer == UNDECIDED
    assert "heart/1: answer on the golden volume" in verdict.reasons[0]


def resplit(small, **parts: str) -> None:
    """Move cases to other parts, train and register as heart anew."""
    path = small.folder / "build" / "split.json"
    split = read_split(path)
    members = [
        dataclasses.replace(member, part=parts.get(member.case.replace("-", "_"), member.part))
        for member in split.members
    ]
    write_split(path, dataclasses.replace(split, members=tuple(members)))
    small.train("heart", epochs=2)
    registration.register_version("heart", small.folder)


def cache_split(small) -> None:
    """Put the split where DVC keeps it."""
    small.git("init", "-q")
    md5 = dvc_md5(small.folder / "build" / "split.json")
    place = small.folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    place.parent.mkdir(parents=True)
    (small.folder / ".dvc" / "config").write_text("")
    shutil.copy(small.folder / "build" / "split.json", place)


def test_test_patients_that_somebody_learned_from_are_refused(grown):
    cache_split(grown)
    resplit(grown, ball_05="test")
    with pytest.raises(PromotionError, match="heart/3 and heart/1 have other test patients"):
        judge(grown)
    grown.change(test_patients="shared")
    verdict = judge(grown)
    assert verdict.patients == 8


def test_a_champion_that_learned_from_a_test_patient_is_refused(grown):
    cache_split(grown)
    resplit(grown, ball_07="train", ball_05="test")
    grown.change(test_patients="shared")
    assert judge(grown).patients == 7
    path = grown.folder / "build" / "split.json"
    split = read_split(path)
    renamed = [
        dataclasses.replace(member, patient="ball-14-p" if member.case == "ball-01" else member.patient)
        for member in split.members
    ]
    write_split(path, dataclasses.replace(split, members=tuple(renamed)))
    grown.train("heart", epochs=3)
    registration.register_version("heart", grown.folder)
    with pytest.raises(
        PromotionError, match=r"heart/4 learned from patients who test \(1 scans, such as ball-14\)"
    ):
        judge(grown)


def test_a_split_that_nobody_holds_is_refused(grown):
    resplit(grown, ball_05="test")
    with pytest.raises(PromotionError, match="heart/1: DVC no longer holds the split"):
        judge(grown)


def test_few_test_patients_are_not_enough(grown):
    cache_split(grown)
    resplit(grown, **{f"ball_{number:02d}": "train" for number in range(10, 15)})
    grown.change(test_patients="shared")
    verdict = judge(grown)
    assert verdict.patients == 3
    assert verdict.answer == UNDECIDED
    assert "3 patients cannot give a p below 0.25; it takes at least 6" in " ".join(verdict.reasons)


def test_without_the_other_model_there_is_no_path(small):
    with mlflow_client.open_client(small.folder / "mlruns") as client:
        client.delete_registered_model_alias("calcium", "challenger")
    with pytest.raises(
        PromotionError, match="needs a calcium network too, .* `coronet models register calcium` first"
    ):
        judge(small)


def test_calcium_is_judged_with_the_hearts_challenger(small):
    verdict = judge(small, "calcium")
    assert verdict.companion == "heart/1 (challenger)"
    assert set(verdict.challenger.figures) >= {"f1", "lesion_sensitivity", "false_mm3", "kappa", "seconds"}
    assert {name: len(values) for name, values in verdict.challenger.patients.items()} == {
        "dice": 6,
        "false_mm3": 2,
        "score": 8,
    }
    weights = small.folder / "build" / "calcium" / "fit" / "weights.safetensors"
    assert verdict.challenger.figures["megabytes"] == weights.stat().st_size / 1e6
    assert sha256_file(weights)
