"""What ends a computation so that its message is all that a user needs."""

from __future__ import annotations


class DivergedError(RuntimeError):
    """An optimisation whose objective became NaN or infinite; the message names the iteration."""


EXPECTED = (ValueError, OSError, DivergedError)  # their message is all that a user needs
