/** A list of what has arrived, the newest on top. */

import { glow } from "./dom.js";

const MAX_SHOWN = 8;

/** Put a row on top of a list: a text, and in small letters a note. Return it. */
export function arrive(list, text, note = "") {
  list.querySelector(".empty")?.remove();
  const row = document.createElement("li");
  row.textContent = text;
  if (note) row.append(Object.assign(document.createElement("small"), { textContent: note }));
  list.prepend(row);
  while (list.children.length > MAX_SHOWN) list.lastElementChild.remove();
  glow(row);
  return row;
}
