"""Says whether a database's error may pass: then a client sends its message again, and else it hears that it failed.

A message that is sent again holds up those after it, so an error that comes each time must not count as an outage.
"""

from __future__ import annotations

from livepush.access.rules import DATABASE_ERRORS

_POSTGRESQL = ("08", "40", "53", "57P", "55P03")
"""How the SQLSTATEs begin of: no connection, a rollback by the server, no resources, a shutdown, a lock."""
_SQLITE_ERROR = 1
"""SQLite's code of errors in a statement, such as a column that is missing."""
_MYSQL = {
    1020, 1040, 1042, 1043, 1047, 1053, 1129, 1158, 1159, 1160, 1161, 1180, 1203, 1205, 1213, 1226, 1290, 1317, 1836,
    1927, 3101, 3572, 4031,
}  # fmt: skip
"""MySQL's and MariaDB's codes of: too many connections, a shutdown, the network, locks, a commit that was rolled back,
a server that is read only or not ready, a connection that was idle for too long."""
_MYSQL_CLIENT = range(2000, 3000)
"""The codes of their client, such as 2006: the server has gone away."""


def may_pass(error: Exception) -> bool:
    """Return whether an error of a handler is one of a database that may work again in a while."""
    if not isinstance(error, DATABASE_ERRORS):
        return False
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if isinstance(state, str):
        return state.startswith(_POSTGRESQL)
    sqlite = getattr(cause, "sqlite_errorcode", None)
    if isinstance(sqlite, int):
        return sqlite & 0xFF != _SQLITE_ERROR
    code = cause.args[0] if cause is not None and cause.args else None
    return not isinstance(code, int) or code in _MYSQL or code in _MYSQL_CLIENT
