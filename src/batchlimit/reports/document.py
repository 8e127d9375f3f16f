"""What all pages share: templates with autoescape, figures as pictures and charts, a policy that runs our scripts."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from batchlimit.reports.embedding import chart_library, data_uri, embedded_json, integrity
from batchlimit.reports.export import FORMATS, export
from batchlimit.reports.figures.figure import Figure, config
from batchlimit.reports.palette import DARK, LIGHT
from batchlimit.reports.verdict import strict


@dataclass(frozen=True)
class ShownFigure:
    """A figure as a page shows it: its static picture, its charts by key, its files, and what a listener hears."""

    figure: Figure
    picture: str
    keys: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    spoken: str
    wide: bool


def show(
    figure: Figure,
    page: Path,
    below: str,
    specs: dict[str, Any],
    *,
    spoken: str = "",
    formats: Collection[str] = FORMATS,
) -> ShownFigure:
    """Write a figure's files to the folder `below` that of the page, and its charts to `specs`.

    `spoken` is what a listener hears in place of title and caption.
    """
    picture = data_uri(export(figure, page / below, formats))
    keys = []
    for place, spec in enumerate(figure.panel_specs):
        keys.append(f"{figure.name}-{place}")
        specs[keys[-1]] = spec
    wide = figure.panel_specs[0].get("width") == "container"
    links = tuple((kind.upper(), f"{below}/{figure.name}.{kind}") for kind in FORMATS if kind in formats)
    return ShownFigure(figure, picture, tuple(keys), links, spoken or f"{figure.title} {figure.caption}", wide)


@functools.cache
def _templates() -> jinja2.Environment:
    # Autoescape for every template: what a user named is text, wherever it stands.
    return jinja2.Environment(
        loader=jinja2.PackageLoader("batchlimit.reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _source(name: str) -> str:
    environment = _templates()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def render(template: str, specs: dict[str, Any], **context: Any) -> str:
    """Return a page; `specs` are its charts by key, and a page without any carries no chart library."""
    scripts = [chart_library(), _source("report.js")] if specs else [_source("report.js")]
    data = {"specs": specs, "themes": {"light": _transparent(config(LIGHT)), "dark": _transparent(config(DARK))}}
    return (
        _templates()
        .get_template(template)
        .render(
            **context,
            css=_trusted(_source("report.css")),
            scripts=[_trusted(script) for script in scripts],
            policy=" ".join([*map(integrity, scripts), *(["'unsafe-eval'"] if specs else [])]),
            data=_trusted(embedded_json(strict(data))),
        )
    )


def unbroken(text: str) -> str:
    """Keep a number with its unit, and 'n = 5' together, when the line is broken."""
    return text.replace(" %", "\u00a0%").replace("n = ", "n\u00a0=\u00a0")


def _trusted(text: str) -> Markup:
    """Mark our own files and escaped JSON as markup; nothing else in a page is."""
    return Markup(text)


def _transparent(theme: dict[str, Any]) -> dict[str, Any]:
    return {**theme, "background": "transparent"}
