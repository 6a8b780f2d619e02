"""Tests that repeat: on families that differ in every run, on the others with --all alone."""

from collections.abc import Iterable

import pytest

from tests.support.families import REPRESENTATIVE


def tier_of(name: str, always: Iterable[str] = REPRESENTATIVE) -> tuple[pytest.MarkDecorator, ...]:
    """The marks of a test's repetition on this family or model: `wide` unless it is one of those that always run."""
    return () if name in always else (pytest.mark.wide,)


def over(argument: str, names: Iterable[str], always: Iterable[str] = REPRESENTATIVE) -> pytest.MarkDecorator:
    """Repeat a test on each of these names."""
    return pytest.mark.parametrize(argument, [pytest.param(name, marks=tier_of(name, always)) for name in names])
