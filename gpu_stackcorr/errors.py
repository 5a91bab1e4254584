"""The errors and warnings of the package, and checks that many modules need. Imports nothing of it."""

import math
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from numbers import Real


class StackCorrError(Exception):
    """Base class of every error that gpu_stackcorr raises on purpose."""


class ParameterError(StackCorrError, ValueError):
    """A parameter has a value that is not allowed; the message names both and says what is."""


class InputTypeError(StackCorrError, TypeError):
    """An array is of a kind or dtype that the operation cannot take."""


class InversionError(ParameterError):
    """A displacement folds, or no inverse of it was found; the message says at how many voxels, and where first."""


class BackendError(StackCorrError, RuntimeError):
    """A backend was asked for by name and cannot run here; the message says what to install."""


class RecipeError(StackCorrError, ValueError):
    """A recipe cannot be read, or what it describes is no longer what it was."""


class VolumeError(StackCorrError, OSError):
    """A file or folder cannot be read, or written, as a volume."""


class StackCorrWarning(UserWarning):
    """Base class of the package's warnings: the result stands, and something about it should be known."""


class ConstantSliceWarning(StackCorrWarning):
    """Slices without variance: their correlation is not defined and is given as NaN."""


class FoldWarning(StackCorrWarning):
    """A displacement folds the image over itself: it shows some places more than once, others mirrored."""


def check_between(name: str, value: object, low: float, high: float) -> float:
    """Return a number between two others as a float, or raise ParameterError; bools and arrays are no numbers."""
    number = math.nan
    if not isinstance(value, bool) and isinstance(value, Real):
        with suppress(OverflowError):  # an integer of hundreds of digits
            number = float(value)
    if not low < number < high:
        raise ParameterError(f"{name} = {on_one_line(value)}: allowed are numbers between {low} and {high}")
    return number


def check_word(name: str, value: object, allowed: Sequence[str | None]) -> None:
    """Raise ParameterError unless `value` is one of some words, or None where that is allowed."""
    if not (value is None or isinstance(value, str)) or value not in allowed:
        raise ParameterError(f"{name} = {on_one_line(value)}: allowed are {', '.join(map(repr, allowed))}")


def on_one_line(value: object) -> str:
    """Return what a value looks like, for messages; arrays write themselves on several lines."""
    return " ".join(repr(value).split())


def warn(message: str, category: type[StackCorrWarning]) -> None:
    """Warn, naming the line outside the package that led here."""
    package = __name__.partition(".")[0]
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
