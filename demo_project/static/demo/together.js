/** Everyone on this page: cursors and dots that move as their owners do. */

import { byId } from "./dom.js";
import { Flock, nameOf } from "./flock.js";
import "./panel.js";

const GROUP = "together";
const SEND_EVERY = 60;
const STILL_HERE_EVERY = 5000;
const STEP = 0.02;
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const LINES = {
  poll: "Over polling this page shows no cursors: they need a stream. Choose another transport.",
  down: "The connection is down. The cursors come back with it.",
};

const field = byId("field");
const { user, name } = field.dataset;
/** Tells this page from others, also of visitors who are not logged in. */
const by = Array.from(crypto.getRandomValues(new Uint32Array(2)), (part) => part.toString(36)).join("-");
const own = { by, x: 0.2 + Math.random() * 0.6, y: 0.2 + Math.random() * 0.6, via: "keys", waves: 0, turn: 0 };
const flock = new Flock(field, byId("here"), { id: user || null, name: name || nameOf(by) }, own);
let timer = 0;

// scene: cursors
livepush.on("cursor", hear);
// scene: end
document.addEventListener("livepush:state", enter);
document.addEventListener("visibilitychange", () => (document.hidden ? leave() : tell()));
window.addEventListener("pagehide", leave);
setInterval(() => document.hidden || tell(), STILL_HERE_EVERY);
field.addEventListener("pointermove", point);
field.addEventListener("pointerdown", (event) => {
  point(event);
  wave();
});
field.addEventListener("keydown", press);
enter();

function point({ clientX, clientY, pointerType }) {
  const { left, top, width, height } = field.getBoundingClientRect();
  moveTo((clientX - left) / width, (clientY - top) / height, pointerType === "mouse" ? "mouse" : "touch");
}

function press(event) {
  const [x, y] = KEYS[event.key] ?? [];
  const waves = event.key === " " || event.key === "Enter";
  if (x === undefined && !waves) return;
  event.preventDefault(); // the page would scroll
  const step = event.shiftKey ? 4 * STEP : STEP;
  if (waves) wave();
  else moveTo(own.x + x * step, own.y + y * step, "keys");
}

function moveTo(x, y, via) {
  Object.assign(own, { x: Math.min(1, Math.max(0, x)), y: Math.min(1, Math.max(0, y)), via });
  flock.draw();
  tell();
}

function wave() {
  own.waves += 1;
  flock.draw();
  tell();
}

/** Tell the others where this visitor is, soon, and once for all that happens until then. */
function tell(within = SEND_EVERY) {
  timer ||= setTimeout(() => {
    timer = 0;
    if (document.hidden || !isLive()) return;
    own.turn += 1;
    send({ ...own, x: round(own.x), y: round(own.y) });
  }, within);
}

/** Take this visitor away from the others' pages; the client has closed its line by now. */
function leave() {
  if (livepush.transport !== "poll") send({ by, gone: true });
}

function send(data) {
  // scene: cursors
  livepush.send(GROUP, "cursor", data, { ephemeral: true }).catch(() => {});
  // scene: end
}

function hear(data, { from }) {
  if (data?.by === by || !isLive()) return;
  const isNew = flock.hear(data, from);
  if (isNew) tell(Math.random() * 400); // so that who has just come sees those who stand still
}

function enter() {
  const isPolling = livepush.transport === "poll";
  const line = isPolling ? LINES.poll : livepush.state === "waiting" || livepush.state === "offline" ? LINES.down : "";
  byId("no-stream").hidden = !line;
  byId("no-stream").textContent = line;
  field.classList.toggle("off", !isLive());
  if (isLive()) tell();
  else flock.clear();
}

function isLive() {
  return livepush.state === "open" && livepush.transport !== "poll";
}

function round(part) {
  return Math.round(part * 1e4) / 1e4;
}
