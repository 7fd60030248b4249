/** One of the front page's two windows: a page of its own, with a connection of its own to cut. */

import { byId, copy, fieldsOf, fill, glow, label, STATUSES } from "./dom.js";

const SHOWN = 3;
const REMEMBERED = 12;
const MOVES_AT_MOST = 400;
const PACE = { in: 1900, out: 650 };
const LINES = { open: "Live", stopped: "No connection", denied: "Refused", offline: "No connection" };

const isCustomer = document.body.dataset.side === "customer";
const items = byId("items");
let cable = "in";
let moves = 0;

livepush.on("parcel.created", place);
livepush.on("parcel.updated", place);
livepush.on("parcel.deleted", ({ code }) => find(code)?.remove());
document.addEventListener("livepush:reset", () => location.reload());
addEventListener("message", ({ data, origin }) => origin === location.origin && obey(data));
for (const item of items.children) show(item, item.dataset.status);
if (isCustomer) watchLine();
else workByItself();
report();

function place(parcel, { time }) {
  tell({ moved: parcel.movement });
  if (isCustomer) note(parcel, Date.now() - Date.parse(time) > 1500);
  const item = find(parcel.code) ?? copy("item", parcel.code);
  if (Number(item.dataset.movement) > parcel.movement) return;
  if (!item.isConnected) add(item, parcel.code);
  fill(item, { ...parcel, label: label(parcel.status) });
  show(item, parcel.status);
  glow(item);
}

function add(item, code) {
  const input = item.querySelector("[name=code]");
  if (input) input.value = code;
  items.prepend(item);
  while (items.children.length > SHOWN) items.lastElementChild.remove();
}

function find(code) {
  return items.querySelector(`[data-code="${CSS.escape(code)}"]`);
}

function show(item, status) {
  item.dataset.status = status;
  const here = STATUSES.indexOf(status);
  item.querySelectorAll(".item-way i").forEach((dot, number) => dot.classList.toggle("done", number <= here));
}

/** Add a movement to those that arrived. */
function note({ item, status }, late) {
  const line = document.createElement("li");
  line.textContent = item;
  line.title = label(status);
  line.dataset.status = status;
  if (late) line.className = "late";
  const ticker = byId("ticker");
  ticker.append(line);
  const isFull = () => ticker.children.length > REMEMBERED || ticker.scrollHeight > ticker.clientHeight;
  while (isFull()) ticker.firstElementChild.remove();
}

function watchLine() {
  const line = byId("line");
  document.addEventListener("livepush:state", ({ detail: { state } }) => {
    line.textContent = LINES[state] ?? "Connecting";
    line.dataset.state = state;
    document.body.classList.toggle("cut", cable === "out");
    report();
  });
}

function obey(message) {
  if (message.hello) report();
  if (!message.cable) return;
  cable = message.cable;
  if (!isCustomer) return;
  if (cable === "out") livepush.stop();
  else livepush.start();
}

/** Say that this window is there, and how far its page was when it was made. */
function report() {
  const latest = Math.max(0, ...[...items.children].map(({ dataset }) => Number(dataset.movement)));
  if (!isCustomer || livepush.state === "open") tell({ latest });
}

function tell(message) {
  if (parent !== window) parent.postMessage(message, location.origin);
}

function workByItself() {
  const auto = byId("auto");
  byId("auto-label").hidden = false;
  auto.checked = parent !== window && !matchMedia("(prefers-reduced-motion: reduce)").matches;
  document.addEventListener("submit", (submission) => {
    submission.preventDefault();
    move(submission.target);
  });
  const next = async () => {
    if (auto.checked && !document.hidden && moves < MOVES_AT_MOST) await move(byId("next-move"));
    setTimeout(next, PACE[cable]);
  };
  setTimeout(next, PACE.out);
}

async function move(form) {
  moves += 1;
  await fetch(form.action, {
    method: "POST",
    body: fieldsOf(form),
    headers: { "X-Requested-With": "fetch" },
  }).catch(() => {}); // the next press tries again
}
