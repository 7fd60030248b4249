import { compare } from "../position.js";
import { prepare } from "./entries.js";
import { focusedIn, focusOn, keepFocus } from "./focus.js";
import { hold, isHeldAt } from "./hold.js";
import { morph } from "./morph.js";
import { entriesOf, isPartial, isVisible } from "./state.js";
import { showTimes } from "./times.js";

/** @typedef {import("./state.js").State} State */

/** How many entries a page has, and the most that are fetched at once. */
const PAGE = 20;
const MAX_FETCHED = 100;

/** How many more entries are fetched than are listed, for those that have come since. */
const SPARE = 5;

/** The link to older entries. */
const OLDER = "a[data-f=older]";

/** Show a page of the list from its beginning, with all that is new. @param {State} list @param {string} url */
export const start = (list, url) => {
  list.url = url;
  list.extra = "";
  list.isStart = true;
  list.started?.(); // nobody waits for the page before
  list.starting = new Promise((done) => {
    list.started = done;
  });
  load(list);
};

/**
 * Fetch the entries that are listed, and what is new.
 *
 * @param {State} list
 * @returns {Promise<void>}
 */
export const load = async (list) => {
  const { element, url, extra, isStart } = list;
  const turn = ++list.begun;
  const entries = entriesOf(list);
  const isHeld = !isStart && isHeldAt(list);
  const limit = Math.max(PAGE, entries.length + (isHeld ? SPARE : 0));
  const page = await gather(
    list,
    `${url + extra}&limit=${Math.min(MAX_FETCHED, limit)}`,
    isHeld && entries.at(-1)?.dataset.id,
  );
  await list.released;
  if (!page) list.started?.();
  if (!page || list.pending || turn < list.shown || url !== list.url || extra !== list.extra) return;
  const hasGrown = entriesOf(list).length > entries.length;
  if (hasGrown || (!isStart && !isHeld && isHeldAt(list))) return load(list);
  list.shown = turn;
  list.shownUrl = url;
  show(list, page.forms[0], isHeld);
  if (isStart) toStart(element);
  list.isStart = list.isOwn = false;
  list.started?.();
  list.inbox.catchUp(element.form.dataset.position, element.refresh);
  if (isHeld && !isHeldAt(list)) element.refresh(0); // the pointer has left meanwhile
  showTimes(list.root);
  ready(list);
};

/**
 * Show a new form; if the entries are held, move none of them.
 *
 * @param {State} list
 * @param {any} form
 * @param {boolean} isHeld
 */
const show = (list, form, isHeld) => {
  const { element } = list;
  const news = isHeld ? hold(form, entriesOf(list), list.upto, !!list.isOwn) : 0;
  if (!news) list.upto = endOf(form);
  const pill = form.querySelector("[data-f=news]");
  if (news && pill) {
    pill.hidden = false;
    pill.textContent = pill.dataset.many.replace("%s", news);
  }
  keepFocus(list.root, () => {
    if (element.form) morph(element.form, form);
    else element.find(".empty").replaceWith(form);
  });
};

/** Return the position up to which a form holds everything: it may list what came while the server read it. @param {any} form */
const endOf = (form) => {
  const { position } = form.dataset;
  const newest = form.querySelector("li")?.dataset.id ?? position;
  return compare(newest, position) > 0 ? newest : position;
};

/** Scroll to where the list begins. @param {any} element */
const toStart = (element) => {
  const panel = element.closest("[part~=panel]");
  if (panel) panel.scrollTop = 0;
  else if (element.getBoundingClientRect().top < 0) element.scrollIntoView();
};

/**
 * Ask for a part of the list, and show an error if it does not come.
 *
 * @param {State} list
 * @param {string} url
 */
const ask = async (list, url) => {
  const { element, inbox } = list;
  const page = await inbox.request(url, null, "document");
  if (page) {
    if (element.why === "load") element.fail("");
    prepare(page);
  } else if (!element.why) {
    element.again = () => load(list);
    element.fail("load");
  }
  return page;
};

/**
 * Fetch a page of the list, and the pages after it down to an entry.
 *
 * @param {State} list
 * @param {string} url
 * @param {string} [oldest]  the entry's id
 * @returns {Promise<any>}
 */
const gather = async (list, url, oldest) => {
  const page = await ask(list, url);
  const older = page && oldest && page.querySelector(OLDER);
  if (!older) return page;
  const entries = [...page.querySelectorAll("li")];
  if (compare(entries.at(-1).dataset.id, oldest) > 0) {
    const rest = await gather(list, `${older.href}&limit=${MAX_FETCHED}`, oldest);
    return rest && join(page, rest);
  }
  for (const entry of entries) if (compare(entry.dataset.id, oldest) < 0) entry.remove();
  older.href = older.href.replace(/before=[^&]*/, `before=${oldest}`);
  return page;
};

/** Add the entries of a page, and its link to older ones, to those before it. @param {any} page @param {any} rest */
const join = (page, rest) => {
  const has = (/** @type {any} */ entry) => page.querySelector(`[data-key="${entry.dataset.key}"]`);
  for (const entry of rest.querySelectorAll("li")) if (!has(entry)) page.querySelector("ul").append(entry);
  page.querySelector(OLDER).replaceWith(rest.querySelector(OLDER) ?? "");
  return page;
};

/**
 * Add older entries. If the link to them has the focus, the first one that is added gets it.
 *
 * @param {State} list
 */
export const more = async (list) => {
  list.observer?.disconnect();
  const older = list.element.find(OLDER);
  if (!older) return; // another load has removed it
  const { shown } = list;
  const page = await ask(list, older.href);
  if (!page) return;
  // else it belongs to what was listed before
  if (list.shown === shown && older.isConnected) {
    keepFocus(list.root, () => {
      const { length } = entriesOf(list);
      const hadFocus = focusedIn(list.root) === older;
      join(list.root, page);
      if (hadFocus) focusOn(entriesOf(list)[length]);
    });
  }
  watchEnd(list);
};

/** Add older entries when the reader comes to the end of the list. @param {State} list */
const watchEnd = (list) => {
  list.observer?.disconnect();
  const older = list.element.find(OLDER);
  if (!older) return;
  list.observer = new IntersectionObserver((told) => {
    // a busy browser tells of several moments at once
    if (told.some(({ isIntersecting }) => isIntersecting)) more(list);
  });
  list.observer.observe(older);
};

/** Set up the current form. If its entries are visible, they are seen. @param {State} list */
export const ready = (list) => {
  list.upto ??= endOf(list.element.form);
  watchEnd(list);
  if (isVisible(list)) see(list);
};

/** Mark the entries as seen that have been shown, unless new ones are left out. @param {State} list */
export const see = (list) => {
  const { element, inbox } = list;
  const newest = entriesOf(list)[0]?.dataset.id; // its event may still be on the way
  if (isPartial(list) || !(inbox.count("unseen") || (newest && inbox.isUncounted(newest)))) return;
  const body = new FormData(element.form);
  body.set("upto", list.upto);
  body.delete("tab");
  body.delete("category"); // there is none
  inbox.request(element.form.dataset.seen, body).then(inbox.take);
};
