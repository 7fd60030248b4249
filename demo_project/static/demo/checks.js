/** The checks: each row shows what the server says of it. */

import { byId, glow, say } from "./dom.js";
import "./forms.js";

const NAMES = { queued: "Queued", running: "Running", passed: "Passed", failed: "Failed" };

// scene: checks
livepush.on("check.updated", ({ id, state, found }) => {
  const row = document.querySelector(`[data-slug="${id}"]`);
  row.dataset.state = state;
  tell(row, state, found);
});
// scene: end
document.addEventListener("livepush:reset", () => location.reload());

function tell(row, state, found) {
  row.querySelector("[data-state-name]").textContent = NAMES[state];
  row.querySelector("[data-found]").textContent = found;
  if (state === "passed" || state === "failed") glow(row);
  const states = [...byId("checks").children].map((each) => each.dataset.state);
  if (states.every((each) => each === "passed")) say("All checks have passed.");
  if (state === "failed") say(`${row.querySelector(".check-title").textContent}: failed`);
}
