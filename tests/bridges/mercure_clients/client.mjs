// A subscriber of a Mercure hub under node, by one of three libraries: it prints what it gets, a line each.
import { createRequire } from "node:module";

const require = createRequire(process.env.LIVEPUSH_NODE_CLIENTS + "/");
const { kind, url, token, types, last } = JSON.parse(process.argv[2]);
const say = (found) => process.stdout.write(JSON.stringify(found) + "\n");
const headers = token ? { Authorization: `Bearer ${token}` } : {};
const tell = ({ type, data, lastEventId }) => say({ type, data, id: lastEventId });
const names = ["message", ...(types ?? [])];

if (kind === "fetch-event-source") {
    globalThis.window = globalThis;
    const { fetchEventSource } = require("@microsoft/fetch-event-source");
    await fetchEventSource(url, {
        headers: last ? { ...headers, "Last-Event-ID": last } : headers,
        openWhenHidden: true,
        onopen: async (answer) => {
            if (!answer.ok) {
                say({ type: "error", status: answer.status });
                process.exit();
            }
            say({ type: "open", last: answer.headers.get("Last-Event-ID") });
        },
        onmessage: ({ event, data, id }) => say({ type: event || "message", data, id }),
    });
} else {
    const polyfill = kind === "polyfill";
    if (polyfill) globalThis.window = globalThis;
    const { EventSource, EventSourcePolyfill } = require(polyfill ? "event-source-polyfill" : "eventsource");
    const source = polyfill
        ? new EventSourcePolyfill(url, { headers, lastEventIdQueryParameterName: "lastEventID" })
        : new EventSource(url, { fetch: (at, init) => fetch(at, { ...init, headers: { ...init.headers, ...headers } }) });
    source.onopen = () => say({ type: "open" });
    source.onerror = (error) => say({ type: "error", status: error.code ?? error.status ?? null });
    for (const name of names) source.addEventListener(name, tell);
}
