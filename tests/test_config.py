"""What is asked for: frozen, validated, and identified by a hash that does not drift."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from batchlimit.config import Averaging, LayerWise, Noise, Recipe, StopRule, TrialConfig
from batchlimit.durations import Duration
from batchlimit.errors import InputError

names = st.text("abcdefghij-_", min_size=1, max_size=12)
positive = st.floats(1e-6, 1e6)
scalars = st.one_of(st.booleans(), st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6), names)
options = st.dictionaries(names, scalars, max_size=3)
durations = st.builds(Duration, st.integers(1, 10**7).map(float), st.sampled_from(["steps", "epochs", "examples"]))
layerwise = st.builds(
    LayerWise, lower=st.floats(0, 1), upper=st.none() | st.floats(1, 100), exclude=st.sampled_from(["1d", "nothing"])
)
noises = st.builds(
    Noise,
    where=st.sampled_from(["activations", "weights", "gradients", "labels"]),
    std=positive,
    decay=st.sampled_from(["none", "linear", "power"]),
)
averagings = (
    st.builds(Averaging, decay=st.floats(0.01, 0.999), start=durations)
    | st.builds(Averaging, half_life=durations, start=durations)
    | st.builds(Averaging, kind=st.just("tail"), start=durations)
)
recipes = st.builds(
    Recipe,
    solver=names,
    lr=positive,
    lr_rule=st.sampled_from(["none", "linear", "sqrt"]),
    reference_batch_size=st.integers(1, 10**6),
    weight_decay=st.floats(0, 1),
    solver_options=options,
    layerwise=st.none() | layerwise,
    schedule_options=options,
    warmup=durations,
    label_smoothing=st.floats(0, 0.99),
    clip_norm=st.none() | positive,
    ghost_batch_size=st.none() | st.integers(1, 10**4),
    noise=st.none() | noises,
    averaging=st.none() | averagings,
)
configs = st.builds(
    TrialConfig,
    workload=names,
    batch_size=st.integers(1, 10**7),
    budget=durations,
    recipe=recipes,
    seed=st.integers(0, 2**31),
    stop=st.none() | st.builds(StopRule, fraction=st.floats(0.01, 0.99), metric=st.floats(0, 1)),
)


def trial(**changes):
    return TrialConfig(**{"workload": "digits", "batch_size": 256, "budget": "30 epochs"} | changes)


@given(configs)
def test_json_round_trip_keeps_everything_and_the_hash(config):
    again = TrialConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert again.hash == config.hash


@given(configs)
def test_the_canonical_text_alone_restores_the_config(config):
    assert TrialConfig.model_validate_json(config.canonical()) == config


@given(configs, configs)
def test_two_configs_share_a_hash_only_when_equal(first, second):
    assert (first.hash == second.hash) == (first == second)


def test_the_hash_is_pinned_since_ledgers_outlive_releases():
    config = trial()
    assert config.canonical() == '{"batch_size":256,"budget":"30 epochs","workload":"digits"}'
    assert config.hash == hashlib.sha256(config.canonical().encode()).hexdigest()[:16]
    tuned = trial(recipe=Recipe(solver="lars", lr=6, warmup="16 epochs", solver_options={"nesterov": True}))
    assert tuned.canonical() == (
        '{"batch_size":256,"budget":"30 epochs","recipe":{"lr":6.0,"solver":"lars",'
        '"solver_options":{"nesterov":true},"warmup":"16 epochs"},"workload":"digits"}'
    )


def test_spelling_does_not_change_the_hash():
    assert trial(budget="30 epoch").hash == trial(budget=30).hash == trial(budget=Duration(30.0, "epochs")).hash
    assert trial(recipe=Recipe(lr=1)).hash == trial(recipe=Recipe(lr=1.0)).hash
    options = {"beta1": 0.9, "beta2": 0.99}
    backwards = dict(reversed(options.items()))
    assert Recipe(solver_options=options).hash == Recipe(solver_options=backwards).hash


def test_a_new_field_with_a_default_keeps_old_hashes():
    class LaterRecipe(Recipe):
        noise: float = 0.0

    assert LaterRecipe(lr=0.3).hash == Recipe(lr=0.3).hash
    assert LaterRecipe(lr=0.3, noise=0.1).hash != Recipe(lr=0.3).hash


def test_recipes_that_use_none_of_the_later_fields_keep_the_hash_they_had():
    """Pinned before noise and averaging were fields: ledgers of then are to be found again."""
    assert trial().hash == "d4dbc889c7a616e7"
    tuned = Recipe(solver="lars", lr=6, warmup="16 epochs", solver_options={"nesterov": True})
    assert trial(recipe=tuned).hash == "b9d41ff794a5571e"
    assert trial(recipe=Recipe(noise={"where": "labels", "std": 0.1})).canonical() == (
        '{"batch_size":256,"budget":"30 epochs","recipe":{"noise":{"std":0.1,"where":"labels"}},"workload":"digits"}'
    )


def test_averaging_at_its_defaults_is_not_the_same_as_none():
    assert Recipe(averaging=Averaging()).hash != Recipe().hash
    assert Recipe.model_validate_json(Recipe(averaging=Averaging()).canonical()).averaging == Averaging()


def test_layer_wise_at_its_defaults_is_not_the_same_as_none():
    assert Recipe(layerwise=LayerWise()).hash != Recipe().hash
    assert Recipe.model_validate_json(Recipe(layerwise=LayerWise()).canonical()).layerwise == LayerWise()


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0},
        {"lr": -1},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"momentum": 0.9},
        {"weight_decay": -1e-4},
        {"label_smoothing": 1},
        {"clip_norm": 0},
        {"ghost_batch_size": 0},
        {"lr_rule": "cubic"},
        {"lr_rule": "linear"},
        {"precision": "fp16"},
        {"solver_options": {"beta": float("nan")}},
        {"layerwise": {"lower": 2, "upper": 1}},
        {"noise": {"where": "weights"}},
        {"noise": {"where": "outputs", "std": 0.1}},
        {"noise": {"where": "weights", "std": 0}},
        {"noise": {"where": "weights", "std": 0.1, "decay": "cosine"}},
        {"averaging": {"kind": "mean"}},
        {"averaging": {"decay": 1}},
        {"averaging": {"kind": "tail", "decay": 0.9}},
        {"averaging": {"kind": "tail", "half_life": "1 epoch"}},
        {"averaging": {"half_life": "0 epochs"}},
        {"averaging": {"half_life": "10%", "decay": 0.9}},
        {"warmup": "soon"},
    ],
)
def test_wrong_recipes_are_refused(wrong):
    with pytest.raises(ValidationError):
        Recipe(**wrong)


def test_an_average_has_one_decay():
    with pytest.raises(ValidationError, match=r"decay 0\.9 and half_life '10%' both say .* Valid: one of the two"):
        Averaging(half_life="10%", decay=0.9)
    assert Averaging(half_life="10%", decay=0.99) == Averaging(half_life="10%")


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"batch_size": -8},
        {"budget": "0 epochs"},
        {"budget": "50%"},
        {"seed": -1},
        {"protocol": "honest"},
        {"stop": {"fraction": 1, "metric": 0.5}},
        {"lr": 0.1},
    ],
)
def test_wrong_trials_are_refused(wrong):
    with pytest.raises(ValidationError):
        trial(**wrong)


def test_configs_are_immutable():
    with pytest.raises(ValidationError, match="frozen"):
        trial().seed = 3


def test_updated_reaches_nested_fields_and_validates():
    config = trial(recipe=Recipe(solver_options={"beta1": 0.9}))
    changed = config.updated(
        {"recipe.solver_options.beta2": 0.5, "recipe.layerwise.upper": 10, "recipe.warmup": "5%", "seed": 3}
    )
    assert changed.recipe.solver_options == {"beta1": 0.9, "beta2": 0.5}
    assert changed.recipe.layerwise == LayerWise(upper=10)
    assert changed.recipe.warmup == Duration(0.05, "fraction")
    assert changed.seed == 3
    assert config.recipe.layerwise is None
    with pytest.raises(ValidationError):
        config.updated({"recipe.momentum": 0.9})
    with pytest.raises(ValidationError):
        config.updated({"batch_size": 0})


@given(configs)
def test_updating_nothing_changes_nothing(config):
    assert config.updated({}) == config


@pytest.mark.parametrize(
    ("rule", "peak"),
    [("none", 0.1), ("linear", 3.2), ("sqrt", 0.1 * 32**0.5)],
)
def test_peak_lr_follows_the_rule(rule, peak):
    recipe = Recipe(lr=0.1, lr_rule=rule, reference_batch_size=256)
    assert recipe.peak_lr(8192) == pytest.approx(peak)
    assert recipe.peak_lr(256) == pytest.approx(0.1)


def test_total_steps_of_the_paper():
    config = TrialConfig(workload="imagenet", batch_size=819_200, budget="90 epochs")
    assert config.total_steps(1_281_167) == 141


def test_a_batch_above_the_data_set_is_refused_with_the_range():
    with pytest.raises(InputError, match=r"batch_size 256 is larger than the 255 .*Valid: 1 to 255"):
        trial().total_steps(255)
    assert trial().total_steps(256) == 30


def test_canonical_text_is_strict_sorted_json():
    text = trial(recipe=Recipe(weight_decay=1e-4, lr=6)).canonical()
    data = json.loads(text)
    assert json.dumps(data, sort_keys=True, separators=(",", ":")) == text
