"""The one exception for what the user can mend."""


class InputError(ValueError):
    """Arguments, data or a checkpoint that cannot be used as given.

    The message names the file, row, task or argument and says how to mend it. The scripts print it without a
    traceback and exit with code 2.
    """
