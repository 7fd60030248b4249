import { beacon } from "../beacon.js";
import { compare } from "../position.js";
import { paint } from "./entries.js";
import { focusedIn, focusOn, keepFocus } from "./focus.js";
import { load } from "./loading.js";
import { entriesOf, liveEntriesOf } from "./state.js";

/** @typedef {import("./state.js").State} State */

/**
 * Each sends a change that the server has not answered. They wait for one another; if the page goes, all are sent at
 * once, also the one that is on its way, since the browser may drop that. They are not sent again if the page comes back.
 *
 * @type {Set<() => unknown>}
 */
const unanswered = new Set();

/** Send what is not answered: the page goes. */
export const sendUnanswered = () => {
  for (const send of unanswered) send();
  unanswered.clear();
};

/**
 * Do what a button of the list's form does.
 *
 * @param {State} list
 * @param {any} button
 */
export const submit = async (list, button) => {
  const { url } = list;
  const { name, value, dataset } = button;
  const one = button.closest("li");
  if (!one && name !== "version" && url !== list.shownUrl) {
    await list.starting;
    if (url !== list.url || url !== list.shownUrl) return press(list, url, dataset.f);
    return list.element.find(bulk(dataset.f))?.click();
  }
  const upto = (/** @type {any} */ entry) => compare(entry.dataset.id, value) <= 0;
  change(list, changeBy(button, name === "upto" ? entriesOf(list).filter(upto) : one ? [one] : []));
};

/** @param {string} name */
const bulk = (name) => `[data-f=${name}]:not([hidden])`;

/**
 * Press a bulk button of a page that is not listed: another tab was pressed before the page had come.
 *
 * @param {State} list
 * @param {string} url
 * @param {string} name
 */
const press = async (list, url, name) => {
  const page = await list.inbox.request(`${url}&limit=1`, null, "document");
  if (page) {
    const button = page.querySelector(bulk(name));
    if (button) change(list, changeBy(button, []));
  } else fail(list, () => press(list, url, name));
};

/** Say that a change was not made, and offer to try all such changes again. @param {State} list @param {() => void} retry */
const fail = (list, retry) => {
  const { element } = list;
  element.failed.push(retry);
  element.again = async () => {
    await load(list); // with a new token, if that was why
    for (const again of element.failed.splice(0)) again();
  };
  element.fail("mark");
};

/**
 * @typedef {object} Change
 * @property {string} url
 * @property {FormData} body
 * @property {any[]} entries  that it changes
 * @property {string | undefined} offer  the query's name under which the page offers to undo it
 */

/** Return what a button changes. @param {any} button @param {any[]} entries @returns {Change} */
const changeBy = (button, entries) => {
  const { form, formAction: url, dataset } = button;
  return { url, body: new FormData(form, button), entries, offer: dataset.then };
};

/**
 * Change some entries: here at once, and on the server as soon as the changes before it are made. Take it back here if
 * the server does not take it.
 *
 * @param {State} list
 * @param {Change} made
 */
const change = (list, made) => {
  const { url, body, entries, offer } = made;
  const { element, inbox } = list;
  const turn = {};
  const before = entries.map((entry) => [entry, "unread" in entry.dataset]);
  const action = /** @type {string} */ (url.split("/").at(-2));
  const kind = action.slice(-4); // the same for what undoes it
  for (const entry of entries) entry[kind] = entry.turn = turn;
  showChange(list, action, body, entries);
  list.pending += 1;
  element.form.setAttribute("aria-busy", "true");
  const sign = () => {
    const token = "csrfmiddlewaretoken"; // a login in another tab makes a new one
    body.set(token, `${new FormData(element.form).get(token)}`);
    return body;
  };
  /** Send it, unless all of its entries have been changed back: of two requests at once, the older may arrive last. */
  const send = () =>
    (entries[0] && entries.every((entry) => entry[kind] !== turn)) || beacon(inbox.here(url), sign());
  unanswered.add(send);
  list.changed = list.changed.then(async () => {
    const said = unanswered.has(send) && (await inbox.request(url, sign()));
    const isLeft = unanswered.delete(send);
    list.pending -= 1;
    list.shown = ++list.begun; // a load that began before this change does not know it
    if (said) {
      inbox.take(said);
      if (offer && said.changed) list.extra = `&${offer}=${said.version}`;
    } else if (isLeft) {
      for (const [entry, isUnread] of before) {
        if (entry.turn !== turn) continue; // a later change of it is on its way
        entry.hidden = false;
        paint(entry, isUnread);
      }
      fail(list, () => change(list, made));
    }
    if (!list.pending) {
      element.form.removeAttribute("aria-busy");
      list.isOwn = true;
      load(list);
    }
  });
};

/**
 * Show some entries as they will be after a change, and nothing of the change before it.
 *
 * @param {State} list
 * @param {string} action
 * @param {FormData} body
 * @param {any[]} entries
 */
const showChange = (list, action, body, entries) => {
  const { root } = list;
  const isGone = action.endsWith("archive") || (action === "read" && body.get("tab") === "unread");
  const all = liveEntriesOf(list);
  const focused = all.find((entry) => entry.contains(focusedIn(root)));
  keepFocus(root, () => {
    for (const entry of entries) {
      entry.hidden = isGone;
      paint(entry, action === "unread");
    }
    if (focused?.hidden) {
      const place = all.indexOf(focused);
      focusOn([...all.slice(place), ...all.slice(0, place).reverse()].find(({ hidden }) => !hidden));
    }
    forgetUndo(list);
    list.element.fail("");
  });
};

/** No longer offer to undo a change. @param {State} list */
export const forgetUndo = (list) => {
  list.extra = "";
  list.element.find("[part=undo]")?.remove();
};

/**
 * Mark an entry as read because its link is followed, after the changes that wait. The page may go, so nothing waits for
 * the answer.
 *
 * @param {State} list
 * @param {any} target  the link, or what is in it
 */
export const follow = (list, target) => {
  const entry = target.closest("li");
  const button = entry.querySelector("[data-unread] [data-f=read]");
  if (!button) return;
  const made = changeBy(button, [entry]);
  if (list.pending) return change(list, made);
  beacon(list.inbox.here(made.url), made.body);
  paint(entry, false);
};
