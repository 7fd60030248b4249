"""What the inbox's benchmark measures on: a million users, one of whom has 100,000 notifications, and everyone else's.

Plain SQL, since ``notify`` would take hours. A position in so many is the reader's: its own, one of 50 groups' or
everyone's. In the first twentieth of the positions the groups have some from before the reader came.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.servers.fresh import Database

READER = 7
"""The primary key of the user with the large inbox."""
MINE = 100_000
"""How many notifications that user has."""
GROUPS = 50
OWN, IN_GROUPS, TO_ALL = 40_000, 50_000, 10_000
"""How many of them are the user's own, a group's, everyone's."""
RARE = "security"
"""A category that 20 of the user's notifications are in."""


class Size(NamedTuple):
    """How large the tables are."""

    step: int
    """One notification in so many is the reader's."""

    @property
    def early(self) -> int:
        """Up to which position the reader was in no group."""
        return self.step * MINE // 20

    @property
    def rows(self) -> int:
        """How many notifications there are, and the last position."""
        return self.step * MINE + self.early

    @property
    def events(self) -> int:
        """How many events the log keeps: it keeps a week of the inbox's three months."""
        return self.rows // 10


USERS = """
INSERT INTO auth_user (id, username, password, is_superuser, is_staff, is_active, first_name, last_name, email, date_joined)
SELECT n, 'user' || n, '!', false, false, true, 'First' || n, 'Last' || n, 'user' || n || '@example.com',
       now() - interval '400 days'
FROM generate_series(1, {users}) AS n
"""  # noqa: E501
MEMBERSHIPS = f"""
INSERT INTO livepush_membership ("group", reader, joined, created)
SELECT 'inbox:of:room:' || n, '{READER}', {{early}}, now() - interval '80 days' FROM generate_series(1, {GROUPS}) AS n
"""
OTHERS = f"""
INSERT INTO livepush_membership ("group", reader, joined, created)
SELECT 'inbox:of:other:' || n * 7919 % 2000, {READER} + 1 + n % {{others}}, 0, now()
FROM generate_series(1, {{others}}::bigint / 2) AS n;
INSERT INTO livepush_inboxstate (reader, seen, read, archived, version, undo)
SELECT {READER} + n, {{rows}} / 2, {{rows}} / 2, 0, 1, '' FROM generate_series(1, {{others}}::bigint / 2) AS n;
INSERT INTO livepush_notificationstate (reader, position, read, archived)
SELECT {READER} + 1 + p * 7919 % {{others}}, p, p % 2 > 0, CASE WHEN p % 5 = 0 THEN true END
FROM generate_series(1, {{rows}}::bigint) AS p WHERE p % 3 = 0
"""
"""What other users have said of theirs."""
_CONTENT = """
       'Something happened to order number ' || p, repeat(md5(p::text), 4), '/orders/' || p || '/', '', 1,
       '[{{"name":"Somebody Else","id":"' || p % 1000 || '","model":"auth.user","url":""}}]',
       '{{"target":{{"name":"Order ' || p || '","id":"' || p || '"}}}}'
"""
NOTIFICATIONS = f"""
INSERT INTO livepush_notification
       (position, "group", key, category, level, title, body, url, icon, count, actors, context, first, created)
SELECT p, CASE
         WHEN p > {{early}} AND p % {{step}} = 0 THEN CASE
           WHEN k % 10 < 4 THEN 'user:{READER}'
           WHEN k % 10 < 9 THEN 'inbox:of:room:' || 1 + k / 10 % {GROUPS}
           ELSE 'inbox:all' END
         WHEN p <= {{early}} AND p % 20 = 0 THEN 'inbox:of:room:' || 1 + p / 20 % {GROUPS}
         WHEN p % 10 = 1 THEN 'inbox:of:other:' || p * 7919 % 2000
         ELSE 'user:' || {READER} + 1 + p * 7919 % {{others}} END,
       '', CASE WHEN p > {{early}} AND p % {{step}} = 0 AND k % 5000 = 1 THEN '{RARE}'
         ELSE (ARRAY['order', 'ticket', 'comment', 'billing', 'system'])[1 + p / 7 % 5] END, 'info',
       {_CONTENT}, made, made
FROM (SELECT p, (p - {{early}}) / {{step}} AS k, now() - interval '80 days' + p * interval '80 days' / {{rows}} AS made
      FROM generate_series(1::bigint, {{rows}}) AS p) AS n
"""
EVENTS = """
INSERT INTO livepush_event (position, "group", type, data, created)
SELECT position, "group", CASE WHEN position % 5 = 0 THEN 'inbox.notification' ELSE 'moved' END,
       '{{"title":"' || title || '","body":"' || body || '"}}', created
FROM livepush_notification WHERE position > {after} ORDER BY position
"""


def add_users(database: Database, users: int) -> None:
    """Make the users, and the reader a member of the groups."""
    _without_indexes(database, "auth_user", USERS.format(users=users))


def fill(database: Database, size: Size, users: int) -> None:
    """Fill the inbox's tables and the log anew."""
    database.query(
        "TRUNCATE livepush_notification, livepush_event, livepush_notificationstate, livepush_inboxstate,"
        " livepush_membership, livepush_inboxhead RESTART IDENTITY"
    )
    named = {"early": size.early, "step": size.step, "rows": size.rows, "others": users - READER}
    database.query(MEMBERSHIPS.format(**named))
    database.query(OTHERS.format(**named))
    _without_indexes(database, "livepush_notification", NOTIFICATIONS.format(**named))
    _without_indexes(database, "livepush_event", EVENTS.format(after=size.rows - size.events))
    database.query(f"UPDATE livepush_loghead SET position = {size.rows}")
    database.query(f"UPDATE livepush_logfloor SET position = {size.rows - size.events}")
    database.query(f"INSERT INTO livepush_inboxhead (id, position) VALUES (1, {size.rows})")
    vacuum(database)


def vacuum(database: Database) -> None:
    """Leave the tables as autovacuum would after a while."""
    database.query("VACUUM (ANALYZE)")
    database.query("CHECKPOINT")


def _without_indexes(database: Database, table: str, sql: str) -> None:
    """Run an INSERT while there are no indexes: to add each row to each of them takes several times as long."""
    constraints = database.query(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        f" WHERE conrelid = '{table}'::regclass AND contype = 'u'"
    )
    for name, _ in constraints:
        database.query(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
    indexes = database.query(
        "SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index"
        f" WHERE indrelid = '{table}'::regclass AND NOT indisprimary"
    )
    for name, _ in indexes:
        database.query(f"DROP INDEX {name}")
    database.query(f"SET session_replication_role = replica; {sql}")  # without looking foreign keys up
    for name, definition in constraints:
        database.query(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition}')
    for _, definition in indexes:
        database.query(definition)
    database.query(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")


PEER_ROWS = 1_000_000
"""The most notifications of others' that the peer's table gets."""
PEER = f"""
INSERT INTO notifications_notification
       (level, recipient_id, unread, actor_content_type_id, actor_object_id, verb, description, target_content_type_id,
        target_object_id, timestamp, public, deleted, emailed, data)
SELECT 'info', CASE WHEN p % {{step}} = 0 THEN {READER} ELSE {READER} + 1 + p * 7919 % {{others}} END, true, kind.id,
       (p % 1000 + 1)::text, 'did something to', repeat(md5(p::text), 4), kind.id, (p % 100 + 1)::text,
       now() - interval '80 days' + p * interval '80 days' / {{rows}}, true, false, false, '{{{{"url": "/orders/"}}}}'
FROM generate_series(1::bigint, {{rows}}) AS p,
     (SELECT id FROM django_content_type WHERE app_label = 'auth' AND model = 'user') AS kind
"""


def fill_peer(database: Database, size: Size, users: int) -> None:
    """Give the user as many of the peer's notifications, and others no more than in the inbox."""
    step = min(size.step, PEER_ROWS // MINE)
    _without_indexes(
        database, "notifications_notification", PEER.format(step=step, rows=step * MINE, others=users - READER)
    )
    vacuum(database)
