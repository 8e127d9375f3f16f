"""The technique sets: recipes that build, differ, and keep what the baseline asks of every recipe."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from batchlimit.config import LayerWise, Recipe
from batchlimit.errors import InputError
from batchlimit.optimizers.build import build_optimizer
from batchlimit.schedules.build import build_schedule
from batchlimit.tuning.techniques import techniques

BASELINE = Recipe(
    solver="momentum", lr=0.06, solver_options={"momentum": 0.8}, weight_decay=1e-3, clip_norm=2.0, precision="bf16"
)


@pytest.mark.parametrize("name", techniques.names())
def test_every_recipe_of_a_set_takes_a_step(name: str) -> None:
    candidates = techniques.get(name)(BASELINE)
    names = [candidate.name for candidate in candidates]
    assert len(set(names)) == len(names) > 0
    assert len({candidate.recipe.canonical() for candidate in candidates}) == len(names)
    for candidate in candidates:
        recipe: Recipe = candidate.recipe
        assert recipe.lr_rule == "none"  # the search moves the LR with the batch size itself
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        optimizer = build_optimizer(recipe, model.named_parameters())
        if hasattr(optimizer, "attach"):  # it looks at activations
            optimizer.attach(model)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        model(torch.ones(5, 3)).square().sum().backward()
        optimizer.step()
        assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
        for warmup in candidate.warmups:
            build_schedule(recipe.updated({"warmup": warmup}), total_steps=10, warmup_steps=1.0)


@pytest.mark.parametrize("name", techniques.names())
def test_every_recipe_keeps_what_the_baseline_asks_of_all(name: str) -> None:
    for candidate in techniques.get(name)(BASELINE):
        recipe = candidate.recipe
        assert (recipe.weight_decay, recipe.clip_norm, recipe.precision) == (1e-3, 2.0, "bf16")
        if recipe.solver != "momentum":
            assert "momentum" not in recipe.solver_options  # the baseline's own solver's options stay with it


def test_the_baselines_layer_wise_scaling_stays_with_it() -> None:
    layered: Recipe = BASELINE.updated({"layerwise": LayerWise(upper=3.0).model_dump()})
    for candidate in techniques.get("modern")(layered):
        assert candidate.recipe.solver == "momentum" or candidate.recipe.layerwise != layered.layerwise


def test_modern_holds_everything_of_the_paper() -> None:
    paper = {candidate.name for candidate in techniques.get("paper")(BASELINE)}
    modern = {candidate.name for candidate in techniques.get("modern")(BASELINE)}
    assert {"lars", "lamb"} < paper < modern


def test_an_unknown_set_is_bad_input() -> None:
    with pytest.raises(InputError, match=r"Unknown technique set 'papers'\. Did you mean 'paper'\?"):
        techniques.get("papers")
