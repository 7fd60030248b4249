/** Sends the page's own forms without leaving it: what they change comes back as an event, as it does to everyone. */

import { fieldsOf } from "./dom.js";

document.addEventListener("submit", (submission) => {
  const form = submission.target;
  if (!form.matches(".advance")) return;
  submission.preventDefault();
  send(form);
});

async function send(form) {
  const button = form.querySelector("button");
  button.disabled = true;
  const answer = await fetch(form.action, {
    method: "POST",
    body: fieldsOf(form),
    headers: { "X-Requested-With": "fetch" },
  }).catch(() => ({ ok: false, status: 0 }));
  button.disabled = false;
  if (document.activeElement === document.body) button.focus({ preventScroll: true }); // disabled, it lost the focus
  if (answer.ok) form.reset();
  tell(answer);
}

function tell({ ok, status }) {
  const notice = document.getElementById("notice");
  if (!notice) return;
  notice.hidden = ok;
  if (ok) return;
  notice.textContent = status === 409 ? "You already have nine orders on their way. Wait until some have arrived." : "That did not work. Try again.";
}
