/** Streams in a page: those that it was rendered with, and those that begin while it is open. */

import { byId } from "./dom.js";

const MAX_SHOWN = 3;
const SAYS = { finished: "", running: "", stopped: "Stopped.", failed: "Failed.", interrupted: "Interrupted." };
const list = byId("streams");

livepush.on("stream.started", ({ stream, metadata }) => {
  if (list.querySelector(`[src*="/${CSS.escape(stream)}/"]`)) return; // the page was rendered with it
  const article = byId("stream").content.firstElementChild.cloneNode(true);
  article.querySelector("[data-slot=title]").textContent = metadata.question ?? metadata.title;
  const element = document.createElement("livepush-stream");
  element.setAttribute("src", `/livepush/streams/${stream}/`);
  article.querySelector(".stream-body").append(element);
  list.prepend(article);
  while (list.children.length > MAX_SHOWN) list.lastElementChild.remove();
});

// These events do not bubble, but a listener that captures hears them.
list.addEventListener("livepush:stream", ({ target, detail }) => show(target, detail.state), true);
list.addEventListener("livepush:part", ({ target, detail }) => {
  progress(target, detail.stream.progress);
  const body = target.closest(".stream-body");
  const isAtEnd = body.scrollHeight - body.scrollTop - body.clientHeight < 30;
  if (isAtEnd) requestAnimationFrame(() => body.scrollTo(0, body.scrollHeight));
});
list.addEventListener("click", ({ target }) => {
  if (target.matches("[data-stop]")) target.closest("article").querySelector("livepush-stream").stream.stop();
});
for (const element of list.querySelectorAll("livepush-stream")) show(element, element.getAttribute("state"));

function show(element, state) {
  const article = element.closest("article");
  article.querySelector("[data-stop]").hidden = state !== "running" || !byId("question");
  article.querySelector("[data-slot=state]").textContent = SAYS[state] ?? "";
  progress(element, element.getAttribute("progress") ?? undefined);
}

function progress(element, value) {
  if (value === undefined) return;
  const bar = element.closest("article").querySelector("progress");
  bar.hidden = false;
  bar.value = value;
}
