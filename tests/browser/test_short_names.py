"""The client's own names that its build shortens are nothing that a browser has."""

from __future__ import annotations

import json

from playwright.sync_api import Browser

from tests.servers.warm import ROOT

HARMLESS = {"link", "load", "sender", "speak"}
"""Words of texts, media, peer connections and speech, none of which the client uses."""
WORDS = """() => {
  const words = new Set(Object.getOwnPropertyNames(globalThis));
  for (const name of [...words]) {
    const found = /^[A-Z]/.test(name) && globalThis[name];
    if (typeof found === "function" && found.prototype) {
      for (const word of Object.getOwnPropertyNames(found.prototype)) words.add(word);
    }
  }
  return [...words];
}"""


def test_no_name_that_is_shortened_is_a_word_of_the_dom(browser: Browser) -> None:
    """Else the scripts would ask elements for what they have not, as of ``part``."""
    page = browser.new_page()
    words = set(page.evaluate(WORDS))
    page.close()
    names = set(json.loads((ROOT / "client" / "short-names.json").read_text()))
    assert "part" in words
    assert "separate" in names
    assert names & words == HARMLESS
