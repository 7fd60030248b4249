/** The field in which a message is written: it grows, counts, keeps its draft, and sends on Enter. */

import { byId } from "./dom.js";

const COUNT_FROM = 0.9;

const form = byId("write");
const field = byId("text");
const touch = matchMedia("(pointer: coarse)");

/**
 * Call back with each text that is to be sent.
 *
 * @param {{code: string, maxLength: string}} talk
 * @param {{onText: (text: string) => void, onType: () => void}} on
 */
export function compose({ code, maxLength }, { onText, onType }) {
  const draft = `draft ${code}`;
  const most = Number(maxLength);
  form.noValidate = true;
  field.value ||= sessionStorage.getItem(draft) ?? "";

  const changed = () => {
    sessionStorage.setItem(draft, field.value);
    byId("problem").textContent = "";
    const length = [...field.value.trim()].length; // as the server counts, an emoji is one
    byId("count").hidden = length < most * COUNT_FROM;
    byId("count").textContent = `${length.toLocaleString("en-GB")} of ${most.toLocaleString("en-GB")}`;
    byId("count").classList.toggle("bad", length > most);
  };
  changed();

  field.addEventListener("input", () => {
    changed();
    if (field.value.trim()) onType();
  });
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || touch.matches) return;
    event.preventDefault();
    form.requestSubmit();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = field.value.trim();
    field.value = text && "";
    changed();
    field.focus();
    if (text) onText(text);
    else byId("problem").textContent = "Write something first.";
  });
}

/** Put a text back into the field, before what is there. */
export function rewrite(text) {
  field.value = field.value ? `${text}\n${field.value}` : text;
  field.dispatchEvent(new Event("input"));
  field.focus();
}

/** Take no more texts. */
export function closeComposer() {
  for (const control of form.elements) control.disabled = true;
}
