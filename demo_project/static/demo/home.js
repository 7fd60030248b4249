/** The front page: pulls the customer's cable, and counts what happened and what arrived. */

import { Book } from "./book.js";
import { byId } from "./dom.js";

const PATIENCE = 12_000;

const stage = byId("stage");
const button = byId("cable");
const customer = byId("customer").contentWindow;
const warehouse = byId("warehouse").contentWindow;
const book = new Book(stage.dataset.book, 0);
/** The numbers of the movements that the customer's page heard of, in the order in which they came. */
let arrived = [];
/** The last movement that the customer's page knew when the cable was pulled. */
let lastKnown = 0;
let happened = 0;
/** The numbers of the movements since the cable was pulled, in the book's order: the windows count them from 1. */
let order = [];
/** Those of them that happened while it was out, as the database says. */
let late = [];

addEventListener("message", ({ data, origin, source }) => {
  if (origin !== location.origin) return;
  if (source === customer) hearCustomer(data);
  if (source === warehouse && data.moved) hearWarehouse();
  if (data.moved) arrange([data.moved]);
});
button.addEventListener("click", () => (isIn() ? pull() : plugIn()));
tell({ hello: true });

function hearCustomer({ moved, latest }) {
  if (latest) lastKnown = Math.max(lastKnown, latest);
  if (moved) arrived.push(moved);
  button.disabled = false;
}

/** Tell the windows in which order movements happened. */
function arrange(movements) {
  order = [...new Set([...order, ...movements])].sort((one, other) => one - other);
  tell({ order, late });
}

function hearWarehouse() {
  if (isIn()) return;
  happened += 1;
  count([happened, " happened while you were away."]);
}

function pull() {
  lastKnown = Math.max(lastKnown, ...arrived);
  arrived = [];
  happened = 0;
  order = [];
  late = [];
  set("out", "Plug it in again");
  count(["The customer’s page hears nothing now. The warehouse goes on."]);
}

async function plugIn() {
  set("in", "Pull the cable");
  button.disabled = true;
  count(["Catching up…"]);
  try {
    const due = await book.expected(lastKnown);
    late = due;
    arrange(due);
    await all(due);
    verdict(due, arrived.slice(0, due.length));
  } catch (error) {
    count([`The comparison with the database failed: ${error.message}.`]);
  }
  button.disabled = false;
}

/** Wait until as many movements have come as are due, or for so long that some must be lost. */
async function all(due) {
  const end = performance.now() + PATIENCE;
  while (arrived.length < due.length && performance.now() < end) await new Promise((done) => setTimeout(done, 40));
}

function verdict(due, came) {
  if (!due.length) return count(["Nothing moved meanwhile. Pull it again, and wait a little longer."]);
  const inOrder = came.every((number, place) => number === due[place]);
  stage.dataset.verdict = inOrder && came.length === due.length ? "good" : "bad";
  count(
    [due.length, " happened while you were away."],
    [came.length, " arrived."],
    [inOrder ? `In order: ${place(due[0])} to ${place(due.at(-1))}.` : "Not in order."],
  );
}

/** Return the number that the windows show for a movement. */
const place = (movement) => order.indexOf(movement) + 1;

function set(cable, text) {
  stage.dataset.cable = cable;
  delete stage.dataset.verdict;
  byId("cable-text").textContent = text;
  tell({ cable });
}

function tell(message) {
  for (const window of [customer, warehouse]) window.postMessage(message, location.origin);
}

/** Show some sentences, each on a line of its own; numbers are large. */
function count(...sentences) {
  byId("count").replaceChildren(...sentences.flatMap((parts) => [sentence(parts), " "]));
}

function sentence(parts) {
  const line = document.createElement("span");
  for (const part of parts) {
    const element = document.createElement(typeof part === "number" ? "b" : "span");
    element.textContent = part;
    line.append(element);
  }
  return line;
}

const isIn = () => stage.dataset.cable === "in";
