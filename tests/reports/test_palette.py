"""Colours are fixed, and seen on both backgrounds."""

from __future__ import annotations

import pytest

from batchlimit.reports import palette


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2.2, of '#rrggbb'."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


NAMES = ["linear scaling", "baseline", "lars", "lamb", "momentum", "adam", "adamw", "adagrad", "rmsprop", "muon"]


@pytest.mark.parametrize("name", [*NAMES, *(f"another recipe {number}" for number in range(40))])
@pytest.mark.parametrize("background", [palette.LIGHT_BACKGROUND, palette.DARK_BACKGROUND])
def test_every_colour_is_seen_on_both_pages(name: str, background: str) -> None:
    assert contrast(palette.colour(name), background) >= 3


@pytest.mark.parametrize("theme", [palette.LIGHT, palette.DARK])
def test_text_can_be_read(theme: palette.Theme) -> None:
    assert contrast(theme.ink, theme.background) >= 7
    assert contrast(theme.muted, theme.background) >= 4.5


def test_fixed_colours_are_distinct_and_follow_the_solver() -> None:
    assert len({palette.colour(name) for name in NAMES}) == len(NAMES)
    assert palette.colour("lamb + long warmup") == palette.colour("LAMB")
    assert palette.colour("adam, layer-wise, bounded") == palette.colour("adam")
    assert palette.colour("recipe seven", "lars") == palette.colour("lars")
    assert palette.colour("recipe seven", "lars") != palette.colour("lamb", "lars")
    assert palette.colour("recipe seven") == palette.FREE[0]  # and so in the next process
