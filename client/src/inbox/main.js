/** The client, the inbox's elements, and the code that keeps them up to date. */

import { dispatch } from "../events.js";
import "../main.js";
import { Badge } from "./badge.js";
import { Bell } from "./bell.js";
import { each, tellAll } from "./elements.js";
import { List } from "./list.js";
import { request } from "./request.js";
import { add, begin, count, isAhead, LATER, take } from "./store.js";
import { Toasts } from "./toasts.js";

/** The span over which many readers of one notification spread their fetches, in milliseconds. */
const CROWD = 5000;
/** How long to wait for further notifications to announce together, in milliseconds. */
const BREATH = 700;
/**
 * How much older than the newest a notification may be to be shown as new, in milliseconds: not what came while a laptop
 * slept. Both times are of servers; this computer's clock may be wrong.
 */
const FRESH = 60_000;
/** How many titles are remembered that this script has made: a library may bring one back. */
const TITLES = 100;

const { livepush } = /** @type {any} */ (window);
/** @type {any} */
const tag = [...document.querySelectorAll("script[data-inbox]")].pop();
const { inbox: url, icon, lang } = tag.dataset;
const state = JSON.parse(tag.dataset.state);
/** @type {HTMLLinkElement | null} */
const link = document.querySelector("link[rel~=icon]");
const usual = link?.href;
/** @type {any} */
let speech;
/** @type {any} */
let recounting;
/** How many notifications have not been announced yet. */
let unsaid = 0;
/** When the newest notification was sent, by a server's clock. */
let newest = 0;
/** The titles with a count, each with the page's own. @type {Map<string, string>} */
const titles = new Map();

const tell = () => {
  const unseen = count("unseen");
  const text = unseen > 99 ? "99+" : `${unseen || ""}`;
  tellAll(text);
  const own = titles.get(document.title) ?? document.title;
  if (text) titles.set(`(${text}) ${own}`, own);
  if (titles.size > TITLES) titles.delete(titles.keys().next().value ?? "");
  document.title = (text && `(${text}) `) + own;
  if (link) link.href = text ? icon : usual;
  dispatch(document, "inbox", { unseen, unread: count("unread") });
};

/** @param {number} [wait] */
const refresh = (wait) => each((part) => part.refresh?.(wait));

/** @param {number} [wait] */
const recount = (wait = 0) => {
  clearTimeout(recounting);
  recounting = setTimeout(async () => {
    const said = await request(`${url}counts/`);
    take(said);
    if (said && isAhead(said.position)) recount(LATER); // it has not been filed yet
  }, wait);
  refresh(wait);
};

/** @param {string} title */
const say = (title) => {
  unsaid += 1;
  clearTimeout(speech);
  speech = setTimeout(() => {
    /** @type {any} */
    const part = document.querySelector("livepush-toasts,livepush-bell");
    const status = part?.find("[role=status]");
    if (status) status.textContent = unsaid > 1 ? status.dataset.many.replace("%s", unsaid) : title;
    unsaid = 0;
  }, BREATH);
};

/** @param {any} event */
const show = async ({ id, data }) => {
  // Plain text is shown as it was sent; the wording of a kind depends on the reader.
  const own = data.key && (data.collapse || data.lang !== lang);
  const [said = data] = own ? ((await request(`${url}entries/?id=${id}`)).entries ?? []) : [];
  let isListed = false;
  each((part) => {
    isListed ||= part.isVisible?.();
  });
  say(said.title);
  if (!isListed) each((part) => part.show?.(said));
};

/** @type {Record<string, (detail: any) => void>} */
const heed = {
  "event:inbox.notification"(event) {
    if (!add(event)) return;
    const { group, data, time } = event;
    const wait = group.startsWith("user:") ? 30 : CROWD * Math.random();
    if (data.collapse) recount(wait);
    else refresh(wait);
    const sent = Date.parse(time);
    newest = Math.max(newest, sent);
    if (document.hidden) return;
    setTimeout(() => newest - sent < FRESH && show(event), data.key ? wait : 0); // what comes with it counts too
  },
  "event:inbox.state"({ data }) {
    take(data);
    refresh();
  },
  "event:inbox.membership"({ data: { group, since } }) {
    livepush[since ? "add" : "remove"]([group], since);
    recount();
  },
  reset: () => recount(CROWD * Math.random()),
};

if (livepush.inbox) livepush.inbox(state);
else {
  livepush.inbox = take;
  begin(state, tell);
  for (const name in heed) {
    document.addEventListener(`livepush:${name}`, (event) =>
      heed[name]?.(/** @type {CustomEvent} */ (event).detail),
    );
  }
  document.addEventListener("visibilitychange", () => refresh());
  setInterval(() => each((part) => part.age?.()), 30_000);
  const elements = { badge: Badge, list: List, toasts: Toasts, bell: Bell };
  for (const [name, element] of Object.entries(elements)) customElements.define(`livepush-${name}`, element);
  tell();
}
