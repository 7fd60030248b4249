/** The public board: a parcel's card moves to the column of its status. */

import { byId, copy, fill, glow, localTimes } from "./dom.js";
import "./forms.js";
import { mover } from "./motion.js";
import "./panel.js";

const board = byId("board");
const change = mover(() => [...board.querySelectorAll(".card")]);

// scene: board
livepush.on("parcel.created", (parcel) => change(() => place(parcel)));
livepush.on("parcel.updated", (parcel) => change(() => place(parcel)));
// scene: end
livepush.on("parcel.deleted", (parcel) => change(() => remove(parcel)));
localTimes(board);

function place(parcel) {
  const card = find(parcel.code) ?? copy("card", parcel.code);
  if (Number(card.dataset.movement) > parcel.movement) return; // the page was rendered after it
  const column = board.querySelector(`[data-status="${CSS.escape(parcel.status)}"] [data-cards]`);
  if (card.parentElement !== column) column.prepend(card);
  fill(card, parcel);
  glow(card);
  count();
}

function remove(parcel) {
  find(parcel.code)?.remove();
  count();
}

function find(code) {
  return board.querySelector(`[data-code="${CSS.escape(code)}"]`);
}

function count() {
  for (const column of board.children) {
    column.querySelector("[data-count]").textContent = column.querySelectorAll(".card").length;
  }
}
