"""A study of your own in Python: batchlimit study examples/study_averaging.py:study --workload digits

Does averaging the weights help at the full batch, where there is no noise to average away?
"""

from batchlimit.studies import Study
from batchlimit.studies.arm import Arm
from batchlimit.studies.claims import Claim, better
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.recipes import derived, space
from batchlimit.studies.views import FigureSpec, TableSpec

AVERAGES = {"none": None, "last quarter": {"kind": "tail", "start": "75%"}, "exponential": {"half_life": "1 epochs"}}


def arms(facts: Facts, effort: Effort) -> tuple[Arm, ...]:
    """Return an arm for each average at the large and at the full batch, all tuned with the same budget."""
    found = []
    for batch_size in (facts.large, facts.full):
        for name, averaging in AVERAGES.items():
            recipe = derived(facts, "momentum", batch_size, averaging=averaging)
            found.append(
                Arm(
                    labels={"average": name, "batch size": batch_size},
                    batch_size=batch_size,
                    epochs=effort.epochs,
                    recipe=recipe,
                    space=space(recipe, effort),
                    budget=effort.budget,
                    seeds=effort.seeds,
                    protocol=effort.protocol,
                )
            )
    return tuple(found)


study = Study(
    name="averaging",
    question="Does averaging the weights help a large batch?",
    arms=arms,
    tables=(TableSpec(name="accuracy", title="Test accuracy by average", rows="average", columns="batch size"),),
    figures=(
        FigureSpec(
            name="accuracy",
            kind="dots",
            title="Does averaging the weights help a large batch?",
            y="metric",
            colour="average",
            facet="batch size",
        ),
    ),
    claims=(
        Claim(
            "the mean of the last quarter's weights beats the last weights",
            "Jain et al., 2018",
            better({"average": "last quarter"}, {"average": "none"}),
        ),
    ),
)
