/** Reads the stream as a terminal does, with the token in a header, and shows its bytes as text. */

import "./copy.js";
import { byId } from "./dom.js";

const MAX_CHARACTERS = 6000;
const screen = byId("screen");
const output = screen.querySelector("code");
let reading = null;

byId("listen").hidden = false;
byId("listen").addEventListener("click", () => (reading ? stop() : listen()));

async function listen() {
  reading = new AbortController();
  byId("listen-text").textContent = "Stop";
  output.textContent = "";
  try {
    const { token, url } = screen.dataset;
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch(url, { headers, credentials: "omit", signal: reading.signal, cache: "no-store" });
    for await (const text of texts(answer.body.pipeThrough(new TextDecoderStream()))) print(text);
    print("\nThe stream has ended.\n");
  } catch (error) {
    if (error.name !== "AbortError") print(`\nThe stream broke: ${error.message}.\n`);
  }
  stop();
}

async function* texts(stream) {
  const reader = stream.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}

function print(text) {
  output.textContent = (output.textContent + text).slice(-MAX_CHARACTERS);
  screen.scrollTop = screen.scrollHeight;
}

function stop() {
  reading?.abort();
  reading = null;
  byId("listen-text").textContent = "Run it here";
}
