/** A conversation about a parcel: what is written, by whom, who is typing, and how far it was read. */

import { Bubbles } from "./bubbles.js";
import { closeComposer, compose, rewrite } from "./composer.js";
import { byId, isOf, label } from "./dom.js";
import "./panel.js";
import { noteTyping, restTyping, stopTyping, tellTyping } from "./typing.js";

const NEAR = 120;
const LINES = {
  offline: "You are offline. What you write goes out when you are back.",
  waiting: "The connection is down. What you write goes out when it is back.",
  stopped: "The connection is cut. You hear of answers when it is back.",
  poll: "Over polling, nobody sees who is typing.",
};

const talk = byId("talk");
const scroll = byId("scroll");
const { group, user } = talk.dataset;
const bubbles = new Bubbles(byId("messages"), talk.dataset);
let readUpto = 0;
/** Whether the page shows the last message, and goes on to the next. */
let follows = true;

compose(talk.dataset, { onText: write, onType: () => tellTyping(group) });
// scene: chat
livepush.on("chat.message", receive);
// scene: end
livepush.on("chat.read", ({ upto, staff }, event) => {
  if (isOf(event, group) && staff !== "staff" in talk.dataset) bubbles.read(upto);
});
livepush.on("typing", (data, { from }) => from.id !== user && noteTyping(from));
livepush.on("parcel.updated", ({ status }, event) => {
  if (!isOf(event, group)) return;
  talk.dataset.status = status;
  byId("status").textContent = label(status);
});
livepush.on("parcel.deleted", (parcel, event) => isOf(event, group) && close());
document.addEventListener("livepush:state", showLine);
for (const change of ["online", "offline"]) window.addEventListener(change, showLine);
document.addEventListener("livepush:pending", showPending);
document.addEventListener("livepush:answered", ({ detail }) => {
  if (isOurs(detail)) conclude(detail);
  tellRead();
});
document.addEventListener("visibilitychange", tellRead);
window.addEventListener("focus", tellRead);
scroll.addEventListener("scroll", () => {
  follows = scroll.scrollHeight - scroll.clientHeight - scroll.scrollTop < NEAR;
  if (!follows) return;
  byId("newer").hidden = true;
  tellRead();
});
const resizing = new ResizeObserver(() => follows && toEnd());
resizing.observe(scroll);
resizing.observe(byId("messages"));
byId("newer").addEventListener("click", toEnd);
byId("messages").addEventListener("click", ({ target }) => decide(target.dataset.act, target.closest(".message")));
showPending(); // an earlier page has left some
toEnd();
showLine();

function write(text) {
  const data = { text, ref: newRef() };
  show(data);
  toEnd();
  restTyping();
  // scene: chat
  livepush.send(group, "chat", data, { persist: true }).catch(() => {}); // "livepush:answered" tells, after a reload too
  // scene: end
}

function showPending() {
  for (const { data } of livepush.pending.filter(isOurs)) show(data);
}

function show(data) {
  if (!bubbles.wait(data)) return;
  byId("empty").hidden = true;
}

function receive(message, event) {
  if (!isOf(event, group)) return;
  const { from } = event;
  stopTyping(from.id);
  byId("empty").hidden = true;
  const fresh = bubbles.store(message, from);
  if (fresh && !follows) byId("newer").hidden = false;
  tellRead();
}

function conclude({ data, reply, error }) {
  if (error) bubbles.refuse(data.ref, error);
  else bubbles.store(reply, { id: user, name: talk.dataset.userName });
}

/** Tell how far this page's visitor has read, if somebody looks at the page. */
function tellRead() {
  const last = bubbles.lastOfOthers();
  if (livepush.pending.some(({ group: of, type }) => of === group && type === "read")) return; // told once that is answered
  if (last <= readUpto || document.visibilityState !== "visible" || !document.hasFocus() || !follows) return;
  readUpto = last;
  livepush.send(group, "read", { upto: last }).catch(() => {});
}

function decide(act, bubble) {
  if (!act) return;
  if (act === "edit") rewrite(bubble.querySelector("[data-slot=text]").textContent);
  else byId("text").focus();
  bubble.remove();
}

function close() {
  closeComposer();
  byId("notice").textContent = "This parcel was delivered a while ago, and Larkpost has deleted it and its messages.";
  byId("notice").hidden = false;
}

function showLine() {
  const { transport } = livepush;
  const state = navigator.onLine ? livepush.state : "offline";
  const line = LINES[state] ?? (state === "open" && transport === "poll" ? LINES.poll : "");
  if (byId("line").textContent !== line) byId("line").textContent = line;
  bubbles.relabel();
  tellRead();
}

function isOurs({ group: of, type }) {
  return of === group && type === "chat";
}

function toEnd() {
  follows = true;
  scroll.scrollTop = scroll.scrollHeight;
  byId("newer").hidden = true;
}

function newRef() {
  return Array.from(crypto.getRandomValues(new Uint32Array(3)), (part) => part.toString(36)).join("-");
}
