"""Say in one line that this Python is too old."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 (that is the question)
    sys.exit(
        "livepush needs Python 3.11 or newer and this is {}.{}: name another one, as in make PYTHON=python3.12.".format(
            *sys.version_info
        )
    )
