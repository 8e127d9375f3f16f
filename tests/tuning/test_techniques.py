"""The technique sets: recipes that build, differ, and keep what the baseline asks of every recipe."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from batchlimit.config import LayerWise, Recipe
from batchlimit.errors import InputError
from batchlimit.optimizers.build import build_optimizer
from batchlimit.schedules.build import build_schedule
from batchlimit.studies.solvers import LATER
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
            assert recipe.solver_options.get("momentum") != 0.8  # the baseline's own solver's options stay with it


def test_the_baselines_layer_wise_scaling_stays_with_it() -> None:
    layered: Recipe = BASELINE.updated({"layerwise": LayerWise(upper=3.0).model_dump()})
    for candidate in techniques.get("modern")(layered):
        assert candidate.recipe.solver == "momentum" or candidate.recipe.layerwise != layered.layerwise


def test_tuned_recipes_bear_the_name_of_the_baseline_s_solver_and_momentum_is_always_tried() -> None:
    adam: Recipe = BASELINE.with_solver("adamw", 1e-3)
    found = {candidate.name: candidate.recipe for candidate in techniques.get("paper")(adam)}
    assert (found["tuned adamw"].solver, found["smoothed tuned adamw"].solver) == ("adamw", "adamw")
    assert (found["tuned momentum"].solver, found["tuned momentum"].lr) == ("momentum", 0.5)
    assert [n for n in found if "tuned" in n] == ["tuned adamw", "smoothed tuned adamw", "tuned momentum"]


def test_a_smoothed_baseline_is_not_tuned_twice() -> None:
    names = [candidate.name for candidate in techniques.get("paper")(BASELINE.updated({"label_smoothing": 0.1}))]
    assert "tuned momentum" in names
    assert "smoothed tuned momentum" not in names


def test_noise_and_averaging_of_the_baseline_go_with_every_recipe() -> None:
    noisy = BASELINE.updated({"averaging.decay": 0.9, "noise.where": "gradients", "noise.std": 0.1})
    for candidate in techniques.get("modern")(noisy):
        assert candidate.recipe.noise == noisy.noise
        # These average in the place of a decay.
        own = candidate.recipe.solver == "schedule-free" or candidate.name.startswith("averaged")
        assert (candidate.recipe.averaging != noisy.averaging) == own


def test_modern_holds_everything_of_the_paper() -> None:
    paper = {candidate.name for candidate in techniques.get("paper")(BASELINE)}
    modern = {candidate.name for candidate in techniques.get("modern")(BASELINE)}
    assert {"lars", "lamb"} < paper < modern


def test_modern_holds_every_later_solver() -> None:
    assert set(LATER) <= {candidate.recipe.solver for candidate in techniques.get("modern")(BASELINE)}


def test_modern_averages_and_scales_by_the_measured_gain() -> None:
    later = techniques.get("modern")(BASELINE.updated({"reference_batch_size": 32}))
    recipes = {candidate.name: candidate.recipe for candidate in later}
    assert {name for name, recipe in recipes.items() if recipe.averaging} == {"averaged muon", "averaged whitened muon"}
    scaled = next(candidate for candidate in later if candidate.recipe.adascale)
    # Its learning rate stays the baseline's: the measured gain moves it with the batch size.
    assert (scaled.name, scaled.exponent, scaled.anchor) == ("adascale momentum", 0.0, "baseline")
    assert scaled.recipe == BASELINE.updated({"adascale": True, "reference_batch_size": 32})
    assert all(recipe.reference_batch_size is None for name, recipe in recipes.items() if name != scaled.name)
    for without in (BASELINE, BASELINE.updated({"reference_batch_size": 32, "layerwise": {"upper": 10.0}})):
        assert not any(candidate.recipe.adascale for candidate in techniques.get("modern")(without))


def test_an_unknown_set_is_bad_input() -> None:
    with pytest.raises(InputError, match=r"Unknown technique set 'papers'\. Did you mean 'paper'\?"):
        techniques.get("papers")
