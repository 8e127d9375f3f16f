"""Whole numbers in the words of messages, for every layer."""

from __future__ import annotations


def count(number: int | float) -> str:
    """Return a whole number with thousands separated by commas: 60,000."""
    return f"{number:,.0f}"


def counted(number: int, noun: str) -> str:
    """Return '1 trial' or '12 trials'."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"
