/** Follows a channel with the browser's own EventSource: no library at all. */

import "./forms.js";
import { arrive } from "./arrivals.js";
import { byId } from "./dom.js";

const state = byId("state");

// scene: eventstream
const source = new EventSource("/events/");
source.addEventListener("message", ({ data, lastEventId }) => {
  arrive(byId("said-at-desk"), JSON.parse(data).text, lastEventId);
});
// scene: end
source.addEventListener("stream-open", () => {
  state.textContent = "open";
});
source.onerror = () => {
  state.textContent = source.readyState === EventSource.CLOSED ? "closed" : "connecting again";
};
