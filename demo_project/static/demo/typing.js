/** Shows who is typing. The page tells others at most every two seconds, and forgets them after four. */

import { byId } from "./dom.js";

const EVERY = 2000;
const FORGOTTEN_AFTER = 4000;

/** Those who are typing, by id. @type {Map<string, {name: string, timer: number}>} */
const writers = new Map();
let told = 0;

/** Tell the others that somebody types here. A client that polls hears no such thing, and tells none. */
export function tellTyping(group) {
  if (livepush.transport === "poll" || livepush.state !== "open" || Date.now() - told < EVERY) return;
  told = Date.now();
  livepush.send(group, "typing", null, { ephemeral: true }).catch(() => {}); // not worth a word
}

/** Note that somebody types. */
export function noteTyping({ id, name }) {
  clearTimeout(writers.get(id)?.timer);
  writers.set(id, { name, timer: setTimeout(stopTyping, FORGOTTEN_AFTER, id) });
  show();
}

/** Forget that somebody types: the message has come, or nothing more. */
export function stopTyping(id) {
  clearTimeout(writers.get(id)?.timer);
  writers.delete(id);
  show();
}

/** Let the next letter be told at once. */
export function restTyping() {
  told = 0;
}

function show() {
  const names = [...writers.values()].map(({ name }) => name);
  byId("typing").hidden = !names.length;
  byId("typing-name").textContent = names.length > 1 ? `${names.join(" and ")} are typing` : `${names[0] ?? ""} is typing`;
}
