"""The one exception for a user's mistake."""


class UserError(Exception):
    """A mistake that the user can mend.

    The message is one sentence that names the thing, what was received and what is
    allowed. Commands print it without a traceback and exit with status 1.
    """


def require(condition: bool, message: str) -> None:
    """Raises `UserError(message)` unless `condition` holds."""
    if not condition:
        raise UserError(message)
