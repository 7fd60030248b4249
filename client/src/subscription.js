/** @typedef {import("./types.js").Envelope} Envelope */
/** @typedef {import("./types.js").Session} Session */

import { news } from "./cursor.js";
import { dispatch } from "./events.js";

/**
 * Pass an event on to the page, with only the groups that this tab wants (followers may want the others) and to which it
 * is news.
 *
 * @param {Session} session
 * @param {Envelope} event
 */
export const take = (session, event) => {
  const fresh = news(session, event.id, event.groups ?? [/** @type {string} */ (event.group)]);
  const mine = [...session.wanted].filter((group) => fresh.includes(group));
  const [first, second] = mine;
  if (!first) return;
  event.group = first;
  if (second) event.groups = mine;
  else delete event.groups;
  const text = event.data?.$bytes;
  if (text?.at) event.data = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  dispatch(session.target, `event:${event.type}`, event);
  dispatch(session.target, "event", event);
};
