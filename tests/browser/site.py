"""A real site for the browser's tests, and what its pages say of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Page

from tests.servers.fresh import Database
from tests.servers.processes import Publisher, Server

STORED = """() => new Promise((done) => {
    indexedDB.open("livepush", 2).onsuccess = ({target: {result}}) => {
        result.transaction("sent").objectStore("sent").count().onsuccess = ({target}) => {
            result.close();
            done(target.result);
        };
    };
})"""
"""How many messages the browser keeps for the next page."""


@dataclass(frozen=True)
class Site:
    """A server that goes away quickly, and another process on its database."""

    database: Database
    elsewhere: Publisher
    server: Server

    def user_group(self, name: str) -> str:
        """Return the group of a user who was logged in before."""
        ((number,),) = self.database.query(f"SELECT id FROM auth_user WHERE username = '{name}'")
        return f"user:{number}"

    def envelopes(self, *groups: str) -> list[dict[str, Any]]:
        """Return the settled events of some groups, as their envelopes should be."""
        return list(self.elsewhere.rows(list(groups)))


def is_open(page: Page, transport: str | None = None) -> None:
    """Wait until a page's connection is open, over a transport."""
    page.wait_for_function(
        "(name) => window.livepush?.state === 'open' && livepush.transport === (name ?? livepush.transport)",
        arg=transport,
    )
