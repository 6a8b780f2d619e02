"""Comma-separated options, read: words of a given set, ratios, whole numbers."""

from collections.abc import Iterable

from toast_core.errors import ScheduleError


def words_of(text: str, choices: Iterable[str], what: str) -> tuple[str, ...]:
    """The words of a text, each once, in their order.

    Raises:
        ScheduleError: none, or one that is no choice.
    """
    words, known = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip())), tuple(choices)
    if not words or not set(words) <= set(known):
        raise ScheduleError(f"unknown {what} in {text!r}; choose from {', '.join(known)}")
    return words


def ratios_of(text: str) -> tuple[float, ...]:
    """The numbers of a text, each once, in their order.

    Raises:
        ScheduleError: a word is no number.
    """
    try:
        return tuple(dict.fromkeys(float(word) for word in text.split(",") if word.strip()))
    except ValueError:
        raise ScheduleError(f"ratios {text!r} are not numbers; write for example 0.3,0.5,0.7") from None


def sizes_of(text: str) -> tuple[int, ...]:
    """The batch sizes of a text, each once, in their order.

    Raises:
        ScheduleError: none, or one that is no whole number from 1 to 65536.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() and 0 < int(word) <= 65536 for word in words):
        raise ScheduleError(f"batch sizes {text!r} are not whole numbers from 1 to 65536; write for example 1,8,32")
    return tuple(dict.fromkeys(map(int, words)))
