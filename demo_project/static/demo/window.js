/** One of the front page's two windows: a page of its own, with a connection of its own to cut. */

import { byId, copy, fieldsOf, fill, glow, label, STATUSES } from "./dom.js";

const SHOWN = 3;
const MAX_MOVES = 400;
const PACE = { in: 1900, out: 650 };
const LINES = { open: "Live", stopped: "No connection", denied: "Refused", offline: "No connection" };

const isCustomer = document.body.dataset.side === "customer";
const items = byId("items");
const ticker = byId("ticker");
let cable = "in";
let moves = 0;
/** The numbers of the movements since the cable was pulled, in the book's order: the front page knows them. */
let order = [];
/** Those of them that happened while it was out. */
let late = [];
/** How many movements the ticker had no room for. */
let earlier = 0;

livepush.on("parcel.created", place);
livepush.on("parcel.updated", place);
livepush.on("parcel.deleted", ({ code }) => find(code)?.remove());
document.addEventListener("livepush:reset", () => location.reload());
addEventListener("message", ({ data, origin }) => origin === location.origin && obey(data));
for (const item of items.children) show(item, item.dataset.status);
if (isCustomer) watchLine();
else workByItself();
report();

function place(parcel) {
  tell({ moved: parcel.movement });
  note(parcel);
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
function note({ item, status, movement }) {
  const line = document.createElement("li");
  line.append(document.createElement("b"), item);
  line.title = label(status);
  line.dataset.status = status;
  line.dataset.movement = movement;
  ticker.append(line);
  number();
}

/** Number the movements as they happened, and drop the first ones if there is no room for all. */
function number() {
  const lines = [...ticker.querySelectorAll("[data-movement]")];
  for (const line of lines) {
    const movement = Number(line.dataset.movement);
    const place = order.indexOf(movement) + 1;
    line.firstElementChild.textContent = place ? `${place} ` : "";
    line.classList.toggle("late", isCustomer && late.includes(movement));
  }
  while (lines.length > 1 && ticker.scrollHeight > ticker.clientHeight) {
    lines.shift().remove();
    earlier += 1;
    ticker.querySelector(".earlier")?.remove();
    ticker.prepend(earlierLine());
  }
}

function earlierLine() {
  const line = document.createElement("li");
  line.className = "earlier";
  line.textContent = `+${earlier} earlier`;
  return line;
}

function empty() {
  ticker.replaceChildren();
  earlier = 0;
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
  if (message.order) {
    ({ order, late } = message);
    number();
  }
  if (!message.cable) return;
  cable = message.cable;
  if (cable === "out") empty();
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
    if (auto.checked && !document.hidden && moves < MAX_MOVES) await move(byId("next-move"));
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
