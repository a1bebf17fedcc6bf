"""What ``params.yaml`` may say: values as DVC reads them, every field in its range, all faults at once."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from coronet import config
from coronet.config.model_params import OWN_ENCODERS, SMP_ENCODERS, SMP_LEVELS
from coronet.config.schema import build
from coronet.config.strict_yaml import parse_yaml
from coronet.errors import ParamsError
from coronet.networks.encoders import ALLOWED, DEPTHS
from coronet.networks.factory import OWN
from coronet.networks.unet import ACTIVATIONS
from coronet.scoring.protocol import PROTOCOLS
from coronet.scoring.risk_groups import PRESETS

TEXT = (Path(__file__).resolve().parents[1] / "params.yaml").read_text(encoding="utf-8")
SCALARS = [
    *(
        "010",
        "0o10",
        "0x10",
        "0b11",
        "08",
        "1_000",
        "+5",
        "1:30",
        "1e-3",
        "1e3",
        "2.0e-3",
        "-.5",
        "1.",
        "12e",
    ),
    *("yes", "no", "on", "y", "True", "tRue", "~", "null", "", ".nan", "-.inf", "nan", "1e400", "'5'"),
    *(
        "2024-01-01",
        "!!str 3",
        "!!float 3",
        "!!binary aGk=",
        "&x 3",
        "[1, 2]",
        "{b: 1}",
        "0e0",
        "a: b",
        "=",
        "<<",
    ),
    *("!!int x", "!!bool x", "!own 3", "*gone", "'open", "%"),
]
DOCUMENTS = [
    *("a: 1\na: 2\n", "a: {b: 1, b: 2}\n", "x: &x {a: 1}\ny:\n  <<: *x\n  b: 2\n", "a:\n\tb: 1\n", "a:\tb\n"),
    *(
        "a: 1\n---\nb: 2\n",
        "%YAML 1.1\n---\na: 010\n",
        "a: 1\x00",
        "a: 1\r\nb: 2\r\n",
        "a: 1\rb: 2\r",
        "? [1]\n: 2\n",
    ),
    *(
        "x: &x {a: 1}\ny:\n  <<: *x\n  <<: *x\n",
        "a: &a 1\nb: &a 2\n",
        "a: 1\n...\nb: 2\n",
        "1: 2\n",
        "a: 1\x85b: 2\n",
    ),
]


@pytest.mark.parametrize("text", [f"a: {scalar}\n" for scalar in SCALARS] + DOCUMENTS)
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "with a mark"])
def test_values_are_those_of_dvc(tmp_path, text, mark):
    from dvc.utils.serialize import load_yaml

    path = tmp_path / "params.yaml"
    path.write_bytes((mark + text).encode())
    try:
        expected = load_yaml(path)
    except Exception:  # DVC takes some errors as they come
        with pytest.raises(ParamsError, match=r"params\.yaml"):
            parse_yaml(path.read_bytes(), "params.yaml")
        return
    found = parse_yaml(path.read_bytes(), "params.yaml").value
    assert repr(found) == repr(expected)


def line(text: str) -> int:
    return TEXT[: TEXT.index(text)].count("\n") + 1


def changed(old: str, new: str) -> bytes:
    assert old in TEXT
    return TEXT.replace(old, new, 1).encode()


FILES = {
    "UTF-16": (TEXT.encode("utf-16"), "is UTF-16; save it as UTF-8"),
    "UTF-32": (TEXT.encode("utf-32"), "is UTF-"),
    "UTF-16 without a mark": (TEXT.encode("utf-16-le"), "no YAML 1.2|not UTF-8"),
    "Latin-1": ("# Schlüssel\n".encode("latin-1") + TEXT.encode(), "line 1: not UTF-8"),
    "a tab": (changed("  tune:", "\ttune:"), f"line {line('  tune:')}: no YAML 1.2"),
    "a key twice": (
        changed("  tune:", "  tune: 0.3\n  tune:"),
        f'line {line("  tune:") + 1}.*duplicate key "tune"',
    ),
    "a part twice": (changed("split:", "split:\n  seed: 1\nsplit:"), 'duplicate key "split"'),
    "a merge conflict": (
        changed("seed: 2024", "<<<<<<< HEAD\nseed: 2024\n=======\nseed: 1\n>>>>>>> other\nseed: 3"),
        f"line {line('seed: 2024')}: a merge conflict",
    ),
    "a conflict within a comment": (
        changed("seed: 2024", "seed: 2024\n=======\n# x"),
        f"line {line('seed: 2024') + 1}: a merge conflict",
    ),
    "nothing": (b"", "must hold keys and values"),
    "a list": (b"- a\n", "must hold keys and values"),
    "no profile": (changed("profile: demo", "profile:"), 'line [0-9]+: profile "None"'),
    "a list as profile": (changed("profile: demo", "profile: [demo]"), "line [0-9]+: profile"),
    "an empty profile": (
        TEXT.partition("\nprofiles:")[0].encode() + b"\nprofiles:\n  demo:\n",
        "must hold keys",
    ),
    "a common key in a profile": (
        changed("  demo:\n", "  demo:\n    seed: 5\n"),
        f'line {line("  demo:") + 1}: profiles.demo: the key "seed" is not one of heart, calcium, search',
    ),
    "a profile's key for all": (
        changed("seed: 2024", "search: {}\nseed: 2024"),
        f'line {line("seed: 2024")}: the key "search" must be in a profile',
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_not_clear_is_refused(case):
    content, reason = FILES[case]
    with pytest.raises(ParamsError, match=reason):
        config.parse_params(content)


@pytest.mark.parametrize("content", [TEXT.encode("utf-8-sig"), TEXT.replace("\n", "\r\n").encode()])
def test_a_mark_of_utf8_and_windows_line_ends_are_read(content):
    assert config.parse_params(content) == config.parse_params(TEXT.encode())


BAD = {
    "resources.gpus": ("0", "2.5", "65"),
    "resources.nodes": ("0", "two"),
    "resources.batch_norm": ("none", "1"),
    "resources.accumulation": ("0", "1.5"),
    # dotted key, and what its value becomes in turn
    "heart.optimiser.learning_rate": ["0", "-0.002", ".nan", ".inf", "1e400", "'0.002'", "1.5", "yes"],
    "heart.optimiser.epochs": ["0", "-3", "1:30", "7.0", "true", "", "1e2", "999999999"],
    "heart.optimiser.patches_per_epoch": ["0", "1", "-64"],
    "heart.pretrain.batch_size": ["0", "-1", "5000", "49"],
    "heart.optimiser.plateau_factor": ["0", "1", "1.5", "-0.5"],
    "heart.optimiser.plateau_patience": ["-1", "2.5"],
    "heart.optimiser.averaging": ["1", "2", "-0.1", ".nan"],
    "heart.input.spacing_mm": [
        "[0.0, 5.6, 5.0]",
        "[-5.6, 5.6, 5.0]",
        "[5.6, 5.6]",
        "5.6",
        "[.inf, 5, 5]",
    ],
    "heart.input.shape": ["[63, 64, 64]", "[0, 64, 64]", "[-64, 64, 64]", "[64.0, 64, 64]", "[8, 8, 8]"],
    "heart.input.overlap": ["1.0", "-0.5", "7"],
    "heart.input.window_hu": ["[300, -200]", "[100, 100]", "[-200, .inf]", "[-200]", "[-200, 99999]"],
    "heart.input.margin_mm": ["-1.0", ".nan", "1e9"],
    "heart.network.encoder": ["autoencodr", "resnet19", "[plain]", "1"],
    "heart.network.channels": [
        "[]",
        "[0, 16]",
        "[8, -16]",
        "8",
        "[8, 16, 32, 64, 128, 256, 512, 9, 9]",
    ],
    "heart.network.activation": ["gelu", "no", "SELU"],
    "heart.network.weights": ["imagenet", "null", "some"],
    "heart.sampling.positives": ["1.2", "-0.1", "50"],
    "heart.sampling.hard_negatives": ["0.6", "-0.1"],
    "heart.sampling.judged": ["-1", "0.5"],
    "heart.loss.dice": ["-0.5", ".nan"],
    "heart.loss.focal_gamma": ["-2.0", ".inf"],
    "heart.loss.focal_alpha": ["0", "1", "-1", "25"],
    "heart.augment.probability": ["7.0", "-1"],
    "heart.augment.rotation_deg": ["-10", "361"],
    "heart.augment.shift_mm": ["-20"],
    "heart.augment.zoom": ["[1.1, 0.9]", "[0.0, 1.1]", "[-1, 1]", "[1]"],
    "heart.augment.elastic_mm": ["-1"],
    "heart.augment.blur_mm": ["-1"],
    "heart.augment.gamma": ["[1.25, 0.8]", "[0, 1]"],
    "heart.augment.noise_hu": ["-1", ".inf"],
    "heart.augment.surface_mm": ["-1"],
    "heart.augment.metal": ["1.1", "-0.1"],
    "heart.augment.crop": ["1.1", "-0.1", ".nan"],
    "calcium.augment.crop": ["0.5"],
    "heart.threshold": ["7.0", "0", "1", "-1", ".nan"],
    "models": ["[hart]", "[]", "[heart, heart]", "heart"],
    "seed": ["-5", "123456789012345678901234567890", "5.5"],
    "phantom.cases": ["0", "-80"],
    "phantom.masks": ["wood", "true"],
    "phantom.ranges": ["tame", "0.5"],
    "deposits.backgrounds": ["[a, b]", "backgrounds", "[1]"],
    "deposits.variants": ["0", "100", "2.5"],
    "deposits.burdens": ["[]", "[some]", "none"],
    "deposits.ranges": ["tame", "realistic"],
    "validate.in_plane_spacing_mm": ["[3.5, 0.3]", "[-1, 3]", "[0, 3]"],
    "validate.slice_spacing_mm": ["[8.5, 0.4]", "[1, 1]"],
    "validate.extent_mm": ["[800, 80]", "[-80, 800]"],
    "validate.air_hu": ["[-850, -1100]", "[-1e9, 0]"],
    "validate.soft_tissue_hu": ["[120, -110]"],
    "validate.heart_ml": ["[1600, 250]", "[-1, 5]"],
    "validate.heart_hu": ["[120, -60]"],
    "validate.heart_air_share": ["-0.1", "10"],
    "validate.calcium_near_heart_mm": ["-15", ".inf"],
    "validate.copy_distance": ["-1", ".nan"],
    "validate.least_patients": ["0", "-1"],
    "validate.calcium_body_mm3": ["-1", "100", ".inf"],
    "split.tune": ["0", "1", "0.8", "-0.1", ".nan", "'0.12'"],
    "split.test": ["0.9", "2"],
    "score.protocol": ["coronett", ""],
    "score.groups": ["papr", "[paper]"],
    "gate.approval": ["yes", "never"],
    "gate.demand": ["best"],
    "gate.test_patients": ["all"],
    "gate.level": ["0", "1", "5"],
    "gate.resamples": ["0", "-1"],
    "gate.score_error": ["-1", ".nan"],
    "gate.score_margin": ["-0.1", ".inf"],
    "gate.kappa": ["1.5", "-2"],
    "gate.seconds": ["-1"],
    "gate.megabytes": ["-1", ".nan"],
    "gate.heart.dice": ["1.1", "-0.1"],
    "gate.heart.dice_margin": ["-0.01", "2"],
    "gate.calcium.f1": ["60", "-1"],
    "gate.calcium.lesion_sensitivity": ["1.6"],
    "gate.calcium.false_mm3": ["-20"],
    "gate.calcium.false_mm3_margin": ["-5"],
    "search.encoders": ["[]", "[plain, plain]", "[resnet19]", "plain"],
    "search.activations": ["[]", "[gelu]", "[relu, relu]"],
    "search.dice": ["[0.8, 0.2]", "[0.2, 1.8]", "[-1, 0.5]", "[0.5, 0.5]"],
    "search.focal_gamma": ["[4.0, 0.5]", "[-1, 4]"],
    "search.learning_rate": ["[0, 0.008]", "[0.008, 0.0005]", "[0.1, .inf]"],
    "search.folds": ["1", "0"],
    "search.folds_used": ["0", "7"],
    "search.epochs": ["0"],
    "search.patches": ["0", "1.5"],
    "search.trials": ["0", "-1"],
    "search.pruner": ["secateurs"],
    "search.random_trials": ["-1"],
    "search.startup_trials": ["-1"],
    "search.warmup_epochs": ["-1"],
    "search.retries": ["-1"],
    "search.heartbeat_s": ["0", "90"],
    "search.grace_s": ["15", "0"],
}
ROWS = [(key, value) for key, values in BAD.items() for value in values]
LINES = parse_yaml(TEXT.encode(), "params.yaml").lines


def with_values(**values: str) -> bytes:
    """``params.yaml`` with other values at the dotted keys of the profile ``demo``."""
    lines = TEXT.splitlines(keepends=True)
    for key, value in values.items():
        path = tuple(key.split("."))
        place = LINES.get(path) or LINES["profiles", "demo", *path]
        lines[place - 1] = re.sub(r"(^\s*\w+:).*", rf"\1 {value}", lines[place - 1])
    return "".join(lines).encode()


@pytest.mark.parametrize(("key", "value"), ROWS, ids=[f"{key}-{value}" for key, value in ROWS])
def test_a_value_out_of_range_is_named_with_its_line(key, value):
    with pytest.raises(ParamsError) as refused:
        config.parse_params(with_values(**{key: value}))
    message = str(refused.value)
    assert key.rpartition(".")[2] in message
    assert message.startswith("params.yaml, line ")


def test_every_field_has_a_row():
    def names(kind):
        for field in dataclasses.fields(kind):
            inner = getattr(config, field.type, None) if isinstance(field.type, str) else None
            if dataclasses.is_dataclass(inner):
                yield from names(inner)
            else:
                yield field.name

    known = {key.rpartition(".")[2] for key in BAD}
    free = {"profile", "focal", "stop_patience"}
    assert set(names(config.Params)) - known <= free


def test_all_faults_are_named_at_once(tmp_path, monkeypatch):
    values = {"heart.optimiser.epochs": "0", "heart.threshold": "7", "split.tune": ".nan"}
    text = with_values(**values).decode().replace("focal_alpha:", "focal_alfa:", 1)
    (tmp_path / "params.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError) as refused:
        config.load_params()
    first, *lines = str(refused.value).splitlines()
    assert first == "params.yaml: 5 faults"
    assert [line.split(": ", 1)[1] for line in lines] == [
        "split.tune is nan; it must be finite",
        'heart.loss: there is no key "focal_alfa"; the nearest is "focal_alpha"',
        'heart.loss: the key "focal_alpha" is missing',
        "heart.optimiser.epochs is 0; it must be at least 1 and at most 100000",
        "heart.threshold is 7.0; it must be above 0 and below 1",
    ]
    numbers = [int(line.split()[1].rstrip(":")) for line in lines]
    written = text.splitlines()
    assert "tune: .nan" in written[numbers[0] - 1] and "threshold: 7" in written[numbers[4] - 1]


def test_the_command_line_ends_with_2_and_no_traceback(tmp_path):
    (tmp_path / "params.yaml").write_bytes(with_values(**{"heart.optimiser.epochs": "0"}))
    command = [sys.executable, "-m", "coronet.cli", "params"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("coronet: params.yaml, line ")
    assert "Traceback" not in result.stderr


def test_both_profiles_and_anchors_pass():
    paper = config.parse_params(with_values(profile="paper"))
    assert paper.heart.input.shape == (128, 128, 128)
    rates = {"heart.pretrain.learning_rate": "&rate 1e-3", "heart.optimiser.learning_rate": "*rate"}
    found = config.parse_params(with_values(**rates)).heart
    assert (found.pretrain.learning_rate, found.optimiser.learning_rate) == (0.001, 0.001)


def test_parameters_made_in_code_are_checked_too():
    params = config.parse_params(TEXT.encode())
    with pytest.raises(ParamsError, match="optimiser.epochs is 0"):
        dataclasses.replace(params.heart.optimiser, epochs=0)
    with pytest.raises(ParamsError, match="does not divide by 16"):
        dataclasses.replace(params.heart, input=dataclasses.replace(params.heart.input, shape=(24, 64, 64)))
    plain = dataclasses.asdict(params.heart)
    assert build(config.ModelParams, plain, where="model.json") == params.heart


def test_the_names_are_those_that_the_program_knows():
    assert (OWN_ENCODERS, SMP_ENCODERS, SMP_LEVELS) == (OWN, ALLOWED, DEPTHS)
    assert set(PROTOCOLS) == {"coronet", "deepcac", "ai-cac", "orcascore", "molloi"}
    for name in PROTOCOLS:
        assert config.parse_params(with_values(**{"score.protocol": name})).score.protocol == name
    for name in PRESETS:
        assert config.parse_params(with_values(**{"score.groups": name})).score.groups == name
    for name in ACTIVATIONS:
        config.parse_params(with_values(**{"heart.network.activation": name}))
