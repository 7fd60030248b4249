import { compare } from "../position.js";

/**
 * Return whether the entries of a list must stay where they are: somebody points at one, has the focus in one, or has
 * scrolled.
 *
 * @param {import("./state.js").State} list
 */
export const isHeldAt = ({ element }) => {
  const list = element.find("ul");
  if (list?.matches(":hover,:focus-within")) return true;
  for (let node = list; node; node = node.assignedSlot ?? node.parentNode ?? node.host) {
    if (node.scrollTop > 0) return true;
    if (node.matches?.("[part~=panel]")) break; // the page behind the bell's panel may be scrolled
  }
  return false;
};

/**
 * Change a new form so that it moves no entry: take out those that do not show yet, and keep those that are gone. Return
 * how many were taken out.
 *
 * @param {any} form
 * @param {any[]} entries  the entries that show now
 * @param {string} upto  the position after which an entry is new
 * @param {boolean} isOwn  whether the reader's own change has just been made: what it brings back shows
 */
export const hold = (form, entries, upto, isOwn) => {
  const [first] = entries;
  if (!first) return 0;
  const list = form.querySelector("ul") ?? first.parentNode.cloneNode();
  form.querySelector(".empty")?.replaceWith(list);
  const oldest = entries.at(-1).dataset.id;
  const shown = new Set(entries.map(({ dataset: { key } }) => key));
  const fresh = new Map([...list.children].map((entry) => [entry.dataset.key, entry]));
  let news = 0;
  for (const [key, entry] of fresh) {
    const { id } = entry.dataset;
    if (compare(id, upto) <= 0 && (isOwn || shown.has(key) || compare(id, oldest) < 0)) continue;
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
