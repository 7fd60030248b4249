/** Sends the notification without leaving the page, and shows the line of Python that did it. */

import "./copy.js";
import { byId, fieldsOf } from "./dom.js";

const NOW = "The line of Python that did it:";
const LATER = "The shop’s worker runs this line when the time has come:";
const form = byId("letter");

form.addEventListener("submit", async (submission) => {
  submission.preventDefault();
  const button = form.querySelector(".main");
  button.disabled = true;
  const answer = await fetch(location.href, {
    method: "POST",
    body: fieldsOf(form),
    headers: { "X-Requested-With": "fetch" },
  }).catch(() => null);
  button.disabled = false;
  button.focus({ preventScroll: true });
  byId("problem").hidden = Boolean(answer?.ok);
  if (answer?.ok) show(await answer.json());
  else byId("problem").textContent = answer ? "That was not sent. Keep the title under 120 characters." : "The server does not answer. Try again.";
});

function show({ code, later }) {
  byId("did-code").textContent = code;
  byId("did-when").textContent = later ? LATER : NOW;
  byId("did").hidden = false;
}
