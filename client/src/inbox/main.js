/** The client, the inbox's elements, and the code that keeps them up to date. */

import { dispatch } from "../events.js";
import "../main.js";
import { soon } from "../soon.js";
import { Badge } from "./badge.js";
import { Bell } from "./bell.js";
import { each, parts, tellAll } from "./elements.js";
import { List } from "./list.js";
import { belong, here, lost, request } from "./request.js";
import { add, begin, catchUp, count, keep, keyOf, take } from "./store.js";
import { findTag } from "./tag.js";
import { Toasts } from "./toasts.js";

/** The span over which many readers of one notification spread their fetches, in milliseconds. */
const CROWD = 5000;
/** How long to wait for further notifications before saying them, in milliseconds. */
const BREATH = 700;
/** The most notifications that are worded for one announcement. */
const MAX_WORDED = 3;
/**
 * How much older than the last one a notification may be to be shown as new, in milliseconds: not what came while a laptop
 * slept. Both times are of servers; this computer's clock may be wrong.
 */
const FRESH = 60_000;

const { livepush } = /** @type {any} */ (window);
const { inbox: url, icon: address, ...said } = findTag().dataset;
const icon = new URL(address, location.href).href; // whatever a `<base>` says
/** The token of the page's forms. A new body brings a new one, and so do answers: a login in another tab makes it useless. */
let { csrf } = said;
const state = JSON.parse(said.state);
/** The tag's state and token, as they were read last. Each answer of the server has another token. */
let known = said.state + csrf;
/** @type {any} */
let speech;
/** How many notifications have not been said yet. */
let unsaid = 0;
/** The notifications that have not been announced yet. @type {any[]} */
let waiting = [];
/** When the last notification was sent, by a server's clock. */
let latest = 0;
/** The user whose state this page has. */
let { reader } = state;
/** The titles that this script has made, each with the page's own: a library may bring one back. @type {Map<string, string>} */
const titles = new Map();

const tell = () => {
  const unseen = lost ? 0 : count("unseen");
  const unread = lost ? 0 : count("unread");
  const text = unseen > 99 ? "99+" : `${unseen || ""}`;
  tellAll(text);
  const own = titles.get(document.title) ?? document.title;
  document.title = (text && `(${text}) `) + own;
  keep(titles, document.title, own); // the browser has taken away a space at its end
  for (const link of /** @type {NodeListOf<any>} */ (document.querySelectorAll("link[rel~=icon]"))) {
    link.dataset.livepushIcon ??= link.href; // an attribute, which a copy of the page's head has too
    link.href = text ? icon : link.dataset.livepushIcon;
  }
  dispatch(document, "inbox", { unseen, unread });
};

/** @param {number} wait */
const refresh = (wait) => each((part) => part.refresh?.(wait));

const ask = soon(async () => {
  const said = await request(`${url}counts/`);
  take(said);
  if (!said) return;
  ({ csrf } = said);
  // the reader may have logged in again meanwhile
  if (livepush.state === "denied" || livepush.refused.includes(said.group)) livepush.add(livepush.refused);
  catchUp(said.position, recount);
});

/** @param {number} wait */
const recount = (wait) => {
  ask(wait);
  refresh(wait);
};

/** Return the places for what is to be said, the bell's first; other parts have none. @returns {any[]} */
const places = () => [...parts].map((part) => part.find("[role=status]"));

/** Say a title, or how many there are, in the first place that shows: a screen reader passes over others. @param {string} title */
const say = (title) => {
  clearTimeout(speech);
  speech = setTimeout(() => {
    const place = places().find((place) => place?.getClientRects()[0]);
    if (place) place.textContent = unsaid > 1 ? place.dataset.many.replace("%s", unsaid) : title;
    unsaid = 0;
  }, BREATH);
};

/** Forget what was to be announced, and say nothing of it any more: another user may read this page now. */
const hush = () => {
  waiting = [];
  unsaid = 0;
  clearTimeout(speech);
  for (const place of places()) if (place) place.textContent = "";
  tell();
};

/** @param {string} id */
const read = (id) => {
  const body = new URLSearchParams({ id, reader, csrfmiddlewaretoken: csrf });
  navigator.sendBeacon?.(here(`${url}read/`), body) || request(`${url}read/`, body); // the page may go
};

/** Show what is new, in the reader's words, and only if it is still the reader who is logged in. */
const announce = soon(async () => {
  const news = new Map();
  for (const event of waiting) if (latest - Date.parse(event.time) < FRESH) news.set(keyOf(event), event);
  waiting = [];
  const events = [...news.values()];
  const last = events.slice(-MAX_WORDED);
  if (!last[0]) return;
  const asker = reader;
  const said = await request(`${url}entries/?id=${last.map(({ id }) => id).join("&id=")}`);
  if (!said || asker !== reader) return; // another user may be logged in by now; the badge counts them
  ({ csrf } = said);
  let isListed = false;
  each((part) => {
    isListed ||= part.isListing?.();
  });
  for (const { id, data } of last) {
    const entry = said.entries.find((/** @type {any} */ entry) => entry.id === id) ?? data;
    if (!isListed && !entry.read) each((part) => part.show?.(entry, () => read(id)));
    say(entry.title);
  }
  unsaid += events.length;
  const more = events.length - last.length;
  if (more && !isListed) each((part) => part.hide?.(part.hiding + more));
});

/** @type {Record<string, (detail: any) => void>} */
const heed = {
  "event:inbox.notification"(event) {
    if (!add(event)) return;
    const { group, data, time } = event;
    const wait = group.startsWith("user:") ? 30 : CROWD * Math.random();
    if (data.collapse) recount(wait);
    else refresh(wait);
    latest = Date.parse(time);
    if (document.hidden) return;
    waiting.push(event);
    announce(wait);
  },
  "event:inbox.state"({ data }) {
    take(data);
    refresh(30);
  },
  "event:inbox.membership"({ data: { group, since } }) {
    livepush[since ? "add" : "remove"]([group], since);
    recount(0);
  },
  reset: () => recount(CROWD * Math.random()),
  revoked({ groups }) {
    if (/user:/.test(groups)) recount(BREATH); // after a logout or a login elsewhere, whose cookie may come after this
  },
};

/**
 * Go on with the state and the token in the page's new body, which may be another user's.
 *
 * @param {any} said
 * @param {string} token
 */
const proceed = (said, token) => {
  csrf = token;
  if (reader !== said.reader) begin(said, tell);
  reader = said.reader;
  belong(reader, hush);
  take(said);
};

if (livepush.inbox) livepush.inbox(state, csrf);
else {
  livepush.inbox = proceed;
  const { scan } = livepush;
  livepush.scan = () => {
    const { state, csrf } = findTag()?.dataset ?? {};
    // A new body's script may run later than the client subscribes to its groups: they may be another user's. And a
    // library that morphs the page keeps the tag.
    if (state && state + csrf !== known) proceed(JSON.parse(state), csrf);
    known = state + csrf;
    scan();
    if (state) tell(); // a library may have put another title and other icons there
  };
  begin(state, tell);
  belong(reader, hush);
  for (const name in heed) {
    document.addEventListener(`livepush:${name}`, (/** @type {any} */ { detail }) => heed[name]?.(detail));
  }
  const look = () => {
    if (document.hidden)
      tell(); // a script may have changed the title, which others see now
    else recount(30); // somebody else may have logged in meanwhile
  };
  document.addEventListener("visibilitychange", look);
  addEventListener("focus", look);
  // A library that morphs the page puts templates into elements. In a copy of the page they would seem to be new.
  addEventListener("turbo:before-cache", () => each((part) => part.template?.remove()));
  setInterval(() => each((part) => part.age?.()), 30_000);
  /** @type {Record<string, any>} */
  const elements = { bell: Bell, toasts: Toasts, list: List, badge: Badge };
  for (const name in elements) customElements.define(`livepush-${name}`, elements[name]);
  tell();
}
