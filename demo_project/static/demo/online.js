/** Shows the visitors of this page, and lets in guests who read its group with tokens of their own. */

import "./copy.js";
import { byId, fieldsOf, say } from "./dom.js";

const MAX_GUESTS = 3;
const form = byId("guests");
const guests = new Map();

// scene: online
const room = livepush.presence("online");
room.on("change", show);
document.addEventListener("visibilitychange", () => room.update({ away: document.hidden }));
// scene: end
form.hidden = false;
form.addEventListener("submit", (event) => {
  event.preventDefault();
  letIn();
});
byId("send-away").addEventListener("click", sendAway);

function show(members) {
  byId("people").replaceChildren(
    ...members.map(({ info, state, connections }) => {
      const row = byId("person").content.firstElementChild.cloneNode(true);
      row.dataset.away = Boolean(state?.away);
      row.querySelector("[data-slot=name]").textContent = info.name;
      const times = connections > 1 ? `, ${connections} connections` : "";
      row.querySelector("[data-slot=how]").textContent = (state?.away ? "looks at another tab" : "here") + times;
      return row;
    }),
  );
}

async function letIn() {
  const fields = fieldsOf(form);
  for (const username of guests.keys()) fields.append("in", username);
  const answer = await fetch(form.action, { method: "POST", body: fields });
  const { username, name, token } = await answer.json();
  const visit = new AbortController();
  guests.set(username, visit);
  enable();
  say(`${name} was let in.`);
  try {
    const headers = { Authorization: `Bearer ${token}` };
    const stream = await fetch("/livepush/sse/?group=online", { headers, credentials: "omit", signal: visit.signal });
    const reader = stream.body.getReader();
    while (!(await reader.read()).done);
  } catch (error) {
    if (error.name !== "AbortError") say(`${name} has lost the connection.`);
  }
  guests.delete(username);
  enable();
}

function sendAway() {
  for (const visit of guests.values()) visit.abort();
  say("The guests leave within five seconds: a member may be without a connection for that long.");
}

function enable() {
  form.querySelector(".main").disabled = guests.size >= MAX_GUESTS;
  byId("send-away").disabled = !guests.size;
}
