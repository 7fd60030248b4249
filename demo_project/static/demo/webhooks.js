/** Shows each request that the partner gets. */

import "./forms.js";
import { arrive } from "./arrivals.js";
import { byId } from "./dom.js";

const ANSWERS = { 204: "204: taken", 401: "401: the signature is wrong", 429: "429: not now" };

globalThis.livepush?.on("request", ({ id, code, attempt, status }) => {
  const row = arrive(byId("requests"), `${code}, attempt ${attempt}`, `${id} · ${ANSWERS[status]}`);
  row.dataset.state = status === 204 ? "good" : "bad";
});
