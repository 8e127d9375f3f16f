"""Groups of replicas: sums over gloo ranks and their gradients, who is in a group, and what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from spawned_ranks import run_ranks

from batchlimit.engine.distributed import group_of, joined
from batchlimit.errors import InputError


def work(rank: int, world: int) -> dict[str, Any]:
    everyone = group_of()
    part = torch.full((2,), float(rank + 1), requires_grad=True)
    total = everyone(part)
    # The loss of a member is (rank + 1) x the sum of its totals: the gradient of any part is 1 + 2 + ... + world.
    (gradient,) = torch.autograd.grad(((rank + 1) * total).sum(), part, create_graph=False)
    try:
        group_of(3)
        refused = ""
    except InputError as error:
        refused = str(error)
    noncontiguous = everyone(torch.arange(6.0).reshape(2, 3).t())
    return {
        "total": total.detach(),
        "gradient": gradient,
        "part": part.detach(),
        "refused": refused,
        "transposed": noncontiguous,
        "place": everyone.place,
        "members": everyone.members,
    }


def test_a_sum_over_ranks_and_its_gradient(tmp_path: Path) -> None:
    world = 2
    for rank, found in enumerate(run_ranks(work, world, tmp_path)):
        assert found["total"].tolist() == [3.0, 3.0]
        assert found["gradient"].tolist() == [3.0, 3.0]
        assert found["part"].tolist() == [rank + 1.0] * 2, "the part is not written to"
        assert found["refused"] == "A group of 3 replicas does not divide the 2 there are. Valid: 1, 2."
        assert found["transposed"].tolist() == [[0.0, 6.0], [2.0, 8.0], [4.0, 10.0]]
        assert (found["place"], found["members"]) == (rank, 2)


def test_one_process_is_a_group_of_its_own() -> None:
    group, part = group_of(), torch.ones(3)
    assert (group.members, group.ranks, group.place) == (1, (0,), 0)
    assert group(part) is part
    with pytest.raises(InputError, match=r"A group of 2 replicas does not divide the 1 there are\. Valid: 1\."):
        group_of(2)


def test_joining_where_there_is_nobody_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(InputError, match=r"Cannot join other processes: .*RANK.* Valid: start with torchrun"),
        joined(torch.device("cpu")),
    ):
        pass
