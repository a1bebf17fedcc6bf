"""Checkpoints that survive whatever happens to them."""

from __future__ import annotations

import pytest
import torch

from coronet.errors import StageError
from coronet.training.checkpoint import claim_folder, latest_checkpoint, save_checkpoint


def numbered(number: int) -> dict:
    return {"weight": torch.full((3,), float(number)), "epoch": number, "value": 0.1 + 0.2}


def test_the_newest_comes_back_exactly_and_two_are_kept(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    for number in range(1, 6):
        save_checkpoint(tmp_path, number, numbered(number))
    found = latest_checkpoint(tmp_path)
    assert (found["epoch"], found["value"]) == (5, 0.1 + 0.2)
    assert torch.equal(found["weight"], torch.full((3,), 5.0))
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "change", "remove"])
def test_a_damaged_one_is_passed_over_for_the_one_before(tmp_path, damage):
    for number in (1, 2):
        save_checkpoint(tmp_path, number, numbered(number))
    (path,) = tmp_path.glob("epoch-00002-*")
    content = path.read_bytes()
    middle = len(content) // 2
    if damage == "remove":
        path.unlink()
    else:
        changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes(content[:middle] if damage == "cut" else changed)
    assert latest_checkpoint(tmp_path)["epoch"] == 1


def test_files_half_written_do_not_matter(tmp_path):
    save_checkpoint(tmp_path, 1, numbered(1))
    (tmp_path / ".part-abc.pt").write_bytes(b"half")
    assert latest_checkpoint(tmp_path)["epoch"] == 1


def test_a_work_folder_belongs_to_one_run(tmp_path):
    claim_folder(tmp_path, {"seed": 1, "params": {"loss": {"dice": 0.5}}})
    claim_folder(tmp_path, {"seed": 1, "params": {"loss": {"dice": 0.5}}})
    with pytest.raises(StageError, match=r"params\.loss\.dice is 0\.5 there and 0\.7 here"):
        claim_folder(tmp_path, {"seed": 1, "params": {"loss": {"dice": 0.7}}})
    with pytest.raises(StageError, match="fold is None there"):
        claim_folder(tmp_path, {"seed": 1, "fold": 3, "params": {"loss": {"dice": 0.5}}})
