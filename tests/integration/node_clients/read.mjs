// Reads an event stream with a client from npm and prints what it gets, one JSON object a line:
//   node read.mjs eventsource|fetch URL TYPE…
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [client, url, ...types] = process.argv.slice(2);
const require = createRequire(`${process.env.LIVEPUSH_NODE_CLIENTS}/`);
const load = (name) => import(pathToFileURL(require.resolve(name)));
const say = (what) => console.log(JSON.stringify(what));

if (client === "eventsource") {
  const { EventSource } = await load("eventsource");
  const source = new EventSource(url);
  for (const type of types) {
    source.addEventListener(type, (event) => say({ type, data: JSON.parse(event.data), id: event.lastEventId }));
  }
  source.addEventListener("error", () => say({ type: "error", state: source.readyState }));
} else {
  // It is made for browsers, and asks for nothing of them but this.
  globalThis.window = globalThis;
  const { fetchEventSource } = await load("@microsoft/fetch-event-source");
  await fetchEventSource(url, {
    openWhenHidden: true,
    onmessage: ({ event, data, id }) => say({ type: event || "message", data: JSON.parse(data), id }),
    onclose: () => {
      throw new Error("closed"); // or it would not come back
    },
    onerror: () => say({ type: "error" }),
  });
}
