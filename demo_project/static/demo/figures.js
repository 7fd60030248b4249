/** Reads the metrics as Prometheus does, adds up those of all processes, and shows some. */

import { byId } from "./dom.js";

const EVERY = 2000;
const text = byId("scrape");
const NAMES = {
  clients: "livepush_connections",
  deliveries: "livepush_deliveries_total",
  bytes: "livepush_offered_bytes_total",
  position: "livepush_log_position",
};

async function scrape() {
  // scene: figures
  const answer = await fetch("/livepush/metrics/");
  const lines = (await answer.text()).split("\n").filter((line) => line && !line.startsWith("#"));
  const sum = (name) => lines.filter((line) => line.split(/[ {]/)[0] === name).reduce(add, 0);
  // scene: end
  if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
  for (const [id, name] of Object.entries(NAMES)) byId(id).textContent = Math.round(sum(name)).toLocaleString("en");
  text.textContent = lines.filter((line) => !/_bucket|_created/.test(line)).join("\n");
}

function add(total, line) {
  return total + Number(line.slice(line.lastIndexOf(" ")));
}

async function scrapeOn() {
  try {
    if (!document.hidden) await scrape();
  } catch (error) {
    text.textContent = error.message; // the server may be starting again
  }
  setTimeout(scrapeOn, EVERY);
}

scrapeOn();
