"""Errors that a user can mend: each says in one sentence what was found and what is allowed."""

__all__ = ["ConfigError", "DataError", "RunError", "UserError"]


class UserError(ValueError):
    """Input from the user is wrong; the command line prints the message without traceback."""

    def __str__(self) -> str:
        # What was found may hold line breaks; the sentence stays one line.
        return " ".join(super().__str__().splitlines())


class ConfigError(UserError):
    """A config key is unknown, of the wrong type, out of range or does not fit the model."""


class DataError(UserError):
    """An annotation file, an image or a data set name is missing or malformed."""


class RunError(UserError):
    """A run had to stop: the loss is not finite, the disk is full, a data loader worker died."""
