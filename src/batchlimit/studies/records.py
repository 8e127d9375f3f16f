"""The speed records of training ResNet-50 on ImageNet, as cited context: nothing is trained.

Paper: Table 1.
"""

from __future__ import annotations

from batchlimit.studies import studies
from batchlimit.studies.study import Study
from batchlimit.studies.views import FigureSpec, Row

# Team, date (ISO), top-1 accuracy in %, time as printed, the same in minutes, optimizer, where it was published.
TABLE_1: tuple[tuple[str, str, float, str, float, str, str], ...] = (
    ("He et al.", "2015-12-10", 75.3, "29 h", 29 * 60.0, "momentum", "arXiv 1512.03385"),
    ("Goyal et al.", "2017-06-08", 76.3, "65 min", 65.0, "momentum", "arXiv 1706.02677"),
    ("You et al.", "2017-11-02", 75.3, "48 min", 48.0, "lars", "arXiv 1709.05011"),
    ("You et al.", "2017-11-07", 75.3, "31 min", 31.0, "lars", "arXiv 1709.05011"),
    ("Akiba et al.", "2017-11-12", 74.9, "15 min", 15.0, "rmsprop", "arXiv 1711.04325"),
    ("You et al.", "2017-12-07", 74.9, "14 min", 14.0, "lars", "arXiv 1709.05011"),
    ("Jia et al.", "2018-07-30", 75.8, "6.6 min", 6.6, "lars", "arXiv 1807.11205"),
    ("Mikami et al.", "2018-11-14", 75.0, "3.7 min", 3.7, "lars", "arXiv 1811.05233"),
    ("Ying et al.", "2018-11-16", 76.3, "2.2 min", 2.2, "lars", "arXiv 1811.06992"),
    ("Yamazaki et al.", "2019-03-29", 75.1, "1.25 min", 1.25, "lars", "arXiv 1903.12650"),
    ("Kumar et al.", "2019-10-02", 75.9, "67.1 s", 67.1 / 60, "lars", "arXiv 1909.09756"),
)


def row(team: str, date: str, accuracy: float, time: str, minutes: float, optimizer: str, citation: str) -> Row:
    """Return one record as a row of context."""
    return {
        "team": team,
        "date": date,
        "accuracy (%)": accuracy,
        "time": time,
        "time (minutes)": round(minutes, 3),
        "optimizer": optimizer,
        "citation": citation,
    }


STUDY = Study(
    name="records",
    question="How fast was ResNet-50 trained on ImageNet, and with which optimizer?",
    paper="Table 1",
    paper_setting="ImageNet, ResNet-50",
    note=(
        "Cited, not measured here: Table 1 of You et al., 2020 (arXiv 2006.08517), which ends in October 2019. Dates, "
        "accuracies, times and optimizers are as printed there; the identifiers of the reports are added. Optimizers: "
        "momentum (Rumelhart et al.), LARS (You et al.), RMSprop (Hinton)."
    ),
    figures=(
        FigureSpec(
            name="time",
            kind="timeline",
            title="How long did training ResNet-50 on ImageNet take?",
            caption="Each dot is a record of Table 1.",
            x="date",
            y="time (minutes)",
            colour="optimizer",
        ),
        FigureSpec(
            name="accuracy",
            kind="timeline",
            title="Did the fastest trainings keep the accuracy?",
            caption="Top-1 accuracy of the same records.",
            x="date",
            y="accuracy (%)",
            colour="optimizer",
        ),
    ),
    context=tuple(row(*record) for record in TABLE_1),
)
studies.register("records")(STUDY)
