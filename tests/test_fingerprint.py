"""A fingerprint changes with what matters and with nothing else."""

from __future__ import annotations

from coronet.config import LossParams
from coronet.fingerprint import fingerprint, hash_tree


def key(**changes):
    given = {"params": {"a": 1, "b": (1, 2)}, "inputs": {"data": "00"}, "source": ["train"], **changes}
    return fingerprint("train@heart", **given)


def test_key_order_and_sequence_type_do_not_matter():
    assert key() == key(params={"b": [1, 2], "a": 1})


def test_parameters_inputs_and_source_matter():
    keys = {key(), key(params={"a": 2, "b": (1, 2)}), key(inputs={"data": "01"}), key(source=["prepare"])}
    assert len(keys) == 4


def test_dataclass_equals_its_fields():
    loss = LossParams(dice=0.5, focal=0.5, focal_gamma=2.0, focal_alpha=0.25)
    assert key(params=loss) == key(
        params={"dice": 0.5, "focal": 0.5, "focal_gamma": 2.0, "focal_alpha": 0.25}
    )


def test_tree_hash_sees_names_and_bytes(tmp_path):
    (tmp_path / "a").write_text("x")
    first = hash_tree(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = hash_tree(tmp_path)
    (tmp_path / "b").write_text("y")
    assert len({first, second, hash_tree(tmp_path)}) == 3
