import { compare } from "../position.js";

/**
 * Return whether the entries of a list must stay where they are: somebody points at one, has the focus in one, or has
 * scrolled.
 *
 * @param {any} list
 */
export const isHeldAt = (list) => {
  if (list?.matches(":hover,:focus-within")) return true;
  for (let node = list; node; node = node.parentNode ?? node.host) {
    if (node.scrollTop > 0) return true;
    if (node.part?.contains("panel")) break; // the page behind the bell's panel may be scrolled
  }
  return false;
};

/**
 * Change a new form so that it moves no entry: take out the new ones, and keep those that are gone. Return how many are
 * new.
 *
 * @param {any} form
 * @param {any[]} entries  the entries that show now
 * @param {string} upto  the position after which an entry is new
 */
export const hold = (form, entries, upto) => {
  const list = form.querySelector("ul");
  if (!list) return 0;
  const fresh = new Map([...list.children].map((entry) => [entry.dataset.key, entry]));
  let news = 0;
  for (const entry of fresh.values()) {
    if (compare(entry.dataset.id, upto) <= 0) continue;
    news += 1;
    entry.remove();
  }
  for (const button of form.querySelectorAll("[part=bulk] button")) button.value = upto;
  for (const old of entries) {
    const entry = fresh.get(old.dataset.key);
    if (entry?.isConnected) continue;
    const stays = old.cloneNode(true);
    stays.inert = !entry;
    const next = [...list.children].find(({ dataset: { id } }) => compare(id, old.dataset.id) < 0);
    list.insertBefore(stays, next ?? null);
  }
  return news;
};
