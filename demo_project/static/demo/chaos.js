/** The page Chaos: makes faults, and says beside each button and in a log how it ended. */

import { byId, fieldsOf } from "./dom.js";
import { hurry, onCheck, onCount, onOutage, onVerdict, outage, pause } from "./panel.js";

const SLEEP_SECONDS = 30;
const LOOK_EVERY = 150;
/** How long to wait for one answer, and for a server at all, in milliseconds. */
const ANSWER = 2000;
const PATIENCE = 60_000;

const button = (fault) => document.querySelector(`[data-fault="${fault}"] button`);
/** The fault that a visitor makes now: the button's form or box, its name in the log, and a sentence about the result. */
let broken = null;
/** The log's line of the outage that has not ended yet. */
let line = null;

onCount(({ received, repeated }) => {
  tally("received", received.toLocaleString("en-GB"));
  tally("repeated", String(repeated));
});
onCheck(({ repeated, missed, proof }) => {
  tally("missed", String(missed));
  tally("proof", proof);
  byId("tally").classList.toggle("bad", missed > 0 || repeated > 0);
});
onOutage(() => log(`${broken?.name ?? "Cut"}.`));
onVerdict(end);
document.addEventListener("submit", (submission) => {
  if (!submission.target.matches(".fault")) return;
  submission.preventDefault();
  act(submission.target);
});
button("sleep").addEventListener("click", sleep);

async function act(form) {
  const fault = form.dataset.fault;
  if (fault === "kill") return kill(form);
  if (fault === "second") return startSecond(form);
  const pressed = button(fault).getAttribute("aria-pressed") !== "true";
  button(fault).setAttribute("aria-pressed", String(pressed));
  const title = form.querySelector("h2").textContent;
  begin({ form, name: `${title}: ${pressed ? "on" : "off"}`, result: ({ text }) => text }, "Reconnecting…");
  await post(form, chosen());
  livepush.use(null);
  livepush.cut();
}

/** Return the faults whose buttons are pressed. */
function chosen() {
  const faults = ["sse", "websocket", "slow"];
  return faults.filter((fault) => button(fault).getAttribute("aria-pressed") === "true");
}

async function kill(form) {
  const killed = byId("process").textContent;
  const since = Date.now();
  const seconds = () => `${((Date.now() - since) / 1000).toFixed(1)} s`;
  const result = ({ due, missed }) => `Back after ${seconds()}. ${meanwhile(due, missed)}`;
  const killing = { form, name: `Server ${killed} was killed`, result };
  const sayMeanwhile = (text) => broken === killing && say(form, text);
  begin(killing);
  const clock = setInterval(() => sayMeanwhile(`No server for ${seconds()}. Parcels go on moving.`), 100);
  button("kill").disabled = true;
  try {
    await post(form);
    const { process } = await until((now) => String(now.process) !== killed);
    byId("process").textContent = process;
    clearInterval(clock);
    sayMeanwhile(`Server ${process} answered after ${seconds()}. Reconnecting…`);
    await hurry();
  } catch {
    say(form, "No server answers. Start the demo again.", "bad");
  }
  clearInterval(clock);
  button("kill").disabled = false;
}

function meanwhile(due, missed) {
  if (!due) return "Nothing happened while the server was dead.";
  const caught = missed ? `${missed} of them did not arrive` : "all of them were caught up";
  return `${due} happened while the server was dead, and ${caught}.`;
}

async function startSecond(form) {
  button("second").disabled = true;
  say(form, "It is starting…");
  try {
    await post(form);
    const { second } = await until((now) => now.second);
    const address = new URL("/", location.href);
    address.port = second;
    byId("second").href = address;
    byId("second").hidden = false;
    button("second").hidden = true;
    say(form, `It runs on port ${second}.`);
  } catch {
    button("second").disabled = false;
    say(form, "It did not start.", "bad");
  }
}

async function sleep() {
  const form = button("sleep").closest(".fault");
  button("sleep").disabled = true;
  begin({ form, name: `Sleep for ${SLEEP_SECONDS} seconds`, result: ({ text }) => text }, "This page hears nothing now.");
  livepush.stop();
  for (let left = SLEEP_SECONDS; left; left -= 1) {
    button("sleep").textContent = `Wakes in ${left} s`;
    await pause(1000);
  }
  button("sleep").textContent = "Sleep";
  button("sleep").disabled = false;
  livepush.start();
}

function post(form, faults = []) {
  const body = fieldsOf(form);
  for (const fault of ["sse", "websocket", "slow"]) body.delete(fault);
  for (const fault of faults) body.set(fault, "1");
  return fetch(form.action, { method: "POST", body, headers: { "X-Requested-With": "fetch" } }).catch(() => null);
}

/** Ask which servers there are until the answer fits; return it. */
async function until(fits) {
  for (const end = Date.now() + PATIENCE; Date.now() < end; await pause(LOOK_EVERY)) {
    const now = await servers();
    if (now?.process && fits(now)) return now;
  }
  throw new Error("no server answers");
}

/** Return which servers there are, or `null` while none answers. */
async function servers() {
  try {
    const answer = await fetch("/chaos/servers/", { cache: "no-store", signal: AbortSignal.timeout(ANSWER) });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

function tally(name, text) {
  const place = document.querySelector(`[data-tally="${name}"]`);
  if (place.textContent !== text) place.textContent = text;
}

/** Note that something is broken from now on. */
function begin(what, text = "") {
  broken = what;
  outage();
  say(what.form, text);
}

/** Say how an outage ended. */
function end(found) {
  if (broken) say(broken.form, broken.result(found), found.mood);
  if (line) {
    line.className = found.mood;
    line.textContent += ` ${found.text}`;
  }
  broken = line = null;
}

/** Say something beside a button. */
function say(form, text, mood = "") {
  const place = form.querySelector("[data-result]");
  place.textContent = text;
  place.classList.toggle("good", mood === "good");
  place.classList.toggle("bad", mood === "bad");
}

function log(text) {
  line = document.createElement("li");
  line.textContent = `${new Date().toLocaleTimeString("en-GB")} ${text}`;
  byId("outages").prepend(line);
  byId("no-outages").hidden = true;
}
