/** Shows what another program publishes, and publishes the same from here: with the key, and without the cookies. */

import "./copy.js";
import { arrive } from "./arrivals.js";
import { byId } from "./dom.js";

const button = byId("scan");
const list = byId("scans");

// scene: publish
globalThis.livepush?.on("scan", ({ code, place }) => {
  arrive(list, `${code} was scanned in ${place}`);
});
// scene: end
if (button) {
  button.hidden = false;
  button.addEventListener("click", send);
}

async function send() {
  const { url, key, group } = button.dataset;
  const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
  const body = JSON.stringify({ group, type: "scan", data: { code: "LP-2047", place: "Ghent" } });
  const answer = await fetch(url, { method: "POST", headers, body, credentials: "omit" });
  if (!answer.ok) arrive(list, `The key was refused (${answer.status}). Make a new one.`);
}
