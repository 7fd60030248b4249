/** A chat as a project writes it: what was said is kept, and an answer that runs is taken up again after a reload. */

import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { createElement } from "react";
import { createRoot } from "react-dom/client";

const chat = new URLSearchParams(location.search).get("chat");
const transport = new DefaultChatTransport({
  api: `/streams/chat/${chat}/`,
  prepareReconnectToStreamRequest: () => ({ api: `/streams/chat/${chat}/stream/` }),
});

const token = () => document.cookie.match(/csrftoken=(\w+)/)?.[1] ?? "";

const Chat = () => {
  const asked = JSON.parse(sessionStorage.getItem("asked") ?? "[]");
  const { messages, status, error, sendMessage } = useChat({ id: chat, messages: asked, transport, resume: true });
  const answers = messages.filter(({ role }) => role === "assistant");
  const ask = (text) => {
    sessionStorage.setItem("asked", JSON.stringify([{ id: "u1", role: "user", parts: [{ type: "text", text }] }]));
    sendMessage({ text });
  };
  const stop = () =>
    fetch(`/livepush/streams/${answers.at(-1).id}/stop/`, { method: "POST", headers: { "x-csrftoken": token() } });
  Object.assign(window, { ask, stop, parts: answers.at(-1)?.parts, chatStatus: status, chatError: error?.message });
  const texts = answers.flatMap(({ parts }) => parts.filter(({ type }) => type === "text").map(({ text }) => text));
  return (
    <main data-status={status} data-answers={answers.length}>
      {texts.join("")}
    </main>
  );
};

createRoot(document.querySelector("#app")).render(<Chat />);
