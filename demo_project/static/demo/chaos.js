/** The page Chaos: makes faults, and keeps a log of how each ended. */

import { byId, fieldsOf } from "./dom.js";
import { onCheck, onCount, onVerdict, outage, pause } from "./panel.js";

const SLEEP_SECONDS = 30;
const LOOKS = 60;

const button = (fault) => document.querySelector(`[data-fault="${fault}"] button`);
/** The faults that are on now, for the log. */
let broken = "";

onCount(({ received, repeated }) => {
  tally("received", received.toLocaleString("en-GB"));
  tally("repeated", String(repeated));
});
onCheck(({ repeated, missed, proof }) => {
  tally("missed", String(missed));
  tally("proof", proof);
  byId("tally").classList.toggle("bad", missed > 0 || repeated > 0);
});
onVerdict((text, mood) => log(`${broken || "Cut"}. ${text}`, mood));
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
  await post(form, chosen());
  broken = `${form.querySelector("h2").textContent}: ${pressed ? "on" : "off"}`;
  outage();
  livepush.use(null);
  livepush.cut();
}

/** Return the faults whose buttons are pressed. */
function chosen() {
  const faults = ["sse", "websocket", "slow"];
  return faults.filter((fault) => button(fault).getAttribute("aria-pressed") === "true");
}

async function kill(form) {
  broken = `Server ${byId("process").textContent} was killed`;
  outage();
  button("kill").disabled = true;
  await post(form);
  const { process } = await until((now) => String(now.process) !== byId("process").textContent);
  byId("process").textContent = process;
  button("kill").disabled = false;
}

async function startSecond(form) {
  button("second").disabled = true;
  await post(form);
  const { second } = await until((now) => now.second);
  const address = new URL("/", location.href);
  address.port = second;
  byId("second").href = address;
  byId("second").hidden = false;
  log("The second server answers.", "");
}

async function sleep() {
  button("sleep").disabled = true;
  broken = `Slept for ${SLEEP_SECONDS} seconds`;
  outage();
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
  for (let look = 0; look < LOOKS; look += 1) {
    await pause(500);
    const answer = await fetch("/chaos/servers/", { cache: "no-store" }).catch(() => null);
    const now = answer?.ok ? await answer.json() : {};
    if (fits(now) && now.process) return now;
  }
  throw new Error("no server answers");
}

function tally(name, text) {
  const place = document.querySelector(`[data-tally="${name}"]`);
  if (place.textContent !== text) place.textContent = text;
}

function log(text, mood) {
  const line = document.createElement("li");
  line.className = mood;
  line.textContent = `${new Date().toLocaleTimeString("en-GB")} ${text}`;
  byId("outages").prepend(line);
  byId("no-outages").hidden = true;
  broken = "";
}
