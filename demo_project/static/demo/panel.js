/** The panel: shows the page's connection, forces a transport, cuts the line, and proves that nothing was missed. */

import { Book } from "./book.js";
import { byId } from "./dom.js";
import { Tape } from "./tape.js";

const STATES = {
  idle: "Idle",
  connecting: "Connecting",
  open: "Live",
  waiting: "Reconnecting",
  offline: "Offline",
  paused: "Paused",
  denied: "Refused",
  stopped: "Cut",
};
const TRANSPORTS = { sse: "SSE", websocket: "WebSocket", longpoll: "Long poll", poll: "Poll" };
const TABS = {
  leader: "This tab holds the connection for all tabs",
  follower: "Another tab holds the connection",
  alone: "This tab has its own connection",
};
const CHECK_EVERY = 3000;
const HURRY_EVERY = 100;
const PATIENCE = 12_000;
const CUT_SECONDS = 5;

const panel = byId("panel");
const book = new Book(panel.dataset.book, Number(panel.dataset.latest));
const tape = new Tape(byId("tape"));
const delays = [];
/** The last movement before the line was cut; `null` while nobody waits for a verdict. */
let cutAfter = null;
/** The functions that other scripts want called: after each event and comparison, when an outage begins and ends. */
const listeners = { count: [], check: [], outage: [], verdict: [] };
/** On which pages tell each other that a killed server is back: one of them may hold the connection for all. */
const serverIsBack = new BroadcastChannel("larkpost server is back");

export const onCount = (listener) => listeners.count.push(listener);
export const onCheck = (listener) => listeners.check.push(listener);
export const onOutage = (listener) => listeners.outage.push(listener);
export const onVerdict = (listener) => listeners.verdict.push(listener);

/** Note that the line is about to break: when it is whole again, the page says what it caught up. */
export function outage() {
  cutAfter = book.upto;
  for (const listener of listeners.outage) listener();
}

/** Reconnect in every tab without waiting longer, because the server answers again. */
export async function hurry() {
  serverIsBack.postMessage("");
  while (["connecting", "waiting", "offline"].includes(livepush.state)) {
    livepush.wake();
    await pause(HURRY_EVERY);
  }
}

document.addEventListener("livepush:event", ({ detail }) => isCounted(detail) && receive(detail));
document.addEventListener("livepush:state", ({ detail }) => enter(detail));
document.addEventListener("livepush:reset", () => location.reload());
serverIsBack.addEventListener("message", () => livepush.wake());
byId("cut").addEventListener("click", () => cut());
byId("cut-long").addEventListener("click", () => cutLong());
panel.querySelector(".panel-bar").addEventListener("click", toggle);
panel.querySelector(".transports").addEventListener("change", ({ target }) => livepush.use(target.value || null));
setInterval(() => livepush.state === "open" && check(), CHECK_EVERY);

/** Return whether an event is one of the movements that this page is about. */
function isCounted({ type, data }) {
  return type.startsWith("parcel.") && (!panel.dataset.code || data.code === panel.dataset.code);
}

function receive(envelope) {
  book.add(envelope);
  for (const listener of listeners.count) listener(book);
  const late = tape.tick(envelope.time, envelope.type === "parcel.created");
  if (!late) delays.push(Math.max(0, Date.now() - Date.parse(envelope.time)));
  if (delays.length > 9) delays.shift();
  show("received", book.received.toLocaleString("en-GB"));
  show("repeated", String(book.repeated));
  show("position", envelope.id);
  if (delays.length) show("delay", span(delays.toSorted((a, b) => a - b)[delays.length >> 1]));
}

function enter({ state, transport, position }) {
  panel.dataset.state = state;
  tape.cut = state !== "open";
  show("state", STATES[state]);
  show("transport", TRANSPORTS[transport] ?? "No connection");
  show("tab", TABS[livepush.role]);
  panel.querySelector(".transports").disabled = livepush.role === "follower";
  if (position) show("position", position);
  if (cutAfter === null) return;
  if (state === "open") judge();
  else cutAfter = Math.max(cutAfter, book.upto); // some may have come between the press of the button and the outage
}

function cut() {
  outage();
  verdict("The connection is cut. The client reconnects by itself.");
  livepush.cut();
}

async function cutLong() {
  const button = byId("cut-long");
  button.disabled = true;
  outage();
  livepush.stop();
  verdict("The connection is cut. Parcels go on moving meanwhile.");
  for (let left = CUT_SECONDS; left; left -= 1) {
    button.textContent = `Back in ${left} s`;
    await pause(1000);
  }
  button.textContent = `Cut for ${CUT_SECONDS} s`;
  button.disabled = false;
  livepush.start();
}

/** Wait until all has come that happened while the line was cut, and say how it went. */
async function judge() {
  const after = cutAfter;
  cutAfter = null;
  const back = performance.now();
  try {
    const due = await book.expected(after);
    while (book.missing(due).length && performance.now() - back < PATIENCE) await pause(50);
    const missed = book.missing(due).length;
    const name = TRANSPORTS[livepush.transport] ?? "no transport";
    const caught = due.length ? `${count(due.length)} caught up` : "nothing had moved meanwhile";
    show("resumed", `${due.length ? count(due.length) : "Nothing new"}, over ${name}`);
    verdict(`Resumed over ${name}: ${caught}, ${missed} missed.`, missed ? "bad" : "good");
    const found = { text: byId("verdict").textContent, due: due.length, missed, mood: missed ? "bad" : "good" };
    for (const listener of listeners.verdict) listener(found);
  } catch (error) {
    verdict(`Resumed, but the comparison with the database failed: ${error.message}.`);
  }
  check();
}

async function check() {
  const found = await book.check().catch(() => null);
  if (!found) return;
  const { missed } = found;
  show("missed", String(missed));
  panel.querySelector(".figures .good dd").classList.toggle("bad", missed > 0);
  const now = new Date().toLocaleTimeString("en-GB");
  const proof = `Compared with the shop’s database at ${now}: ${missed ? `${count(missed)} missing` : "nothing is missing"}.`;
  show("proof", proof);
  for (const listener of listeners.check) listener({ received: book.received, repeated: book.repeated, missed, proof });
}

function toggle({ currentTarget: bar }) {
  bar.setAttribute("aria-expanded", String(bar.getAttribute("aria-expanded") !== "true"));
}

function show(name, text) {
  for (const place of panel.querySelectorAll(`[data-show="${name}"]`)) {
    if (place.textContent !== text) place.textContent = text;
  }
}

function verdict(text, mood = "") {
  byId("verdict").textContent = text;
  byId("verdict").className = `verdict ${mood}`;
}

const count = (number) => `${number} ${number === 1 ? "movement" : "movements"}`;
export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const span = (milliseconds) => (milliseconds < 1000 ? `${milliseconds} ms` : `${(milliseconds / 1000).toFixed(1)} s`);
