/** Follows the board with Pusher's library, which the page has loaded as it is; nothing of livepush runs here. */

import { arrive } from "./arrivals.js";
import { byId, label } from "./dom.js";

const { Pusher } = globalThis;
const key = byId("moved").dataset.key;

// scene: pusher
const pusher = new Pusher(key, {
  ...{ cluster: "larkpost", wsHost: location.hostname, enabledTransports: ["ws", "wss"] },
  ...{ wsPort: location.port || 80, wssPort: location.port || 443, forceTLS: location.protocol === "https:" },
});
pusher.subscribe("cache-board").bind("parcel.updated", show);
// scene: end
pusher.connection.bind("state_change", ({ current }) => {
  byId("state").textContent = current;
});

function show({ code, item, city, status }) {
  arrive(byId("moved"), `${item} (${code}), to ${city}`, label(status));
}
