/** One parcel and its way so far. */

import { byId, fill, fillTrack, glow, label, localTimes, say, setTime } from "./dom.js";
import "./forms.js";
import "./panel.js";

const page = byId("parcel");

livepush.on("parcel.updated", update);
livepush.on("parcel.deleted", (parcel) => notice(parcel, "This parcel was delivered a while ago, and Larkpost has deleted it."));
livepush.on("parcel.removed", (parcel) => notice(parcel, "This parcel belongs to somebody else now."));
localTimes(page);

function update(parcel, envelope) {
  if (parcel.code !== page.dataset.code) return; // another one of this user's, through the bell's group
  if (Number(page.dataset.movement) > parcel.movement) return; // the page was rendered after it
  fill(page, parcel);
  fillTrack(page, parcel.status);
  record(parcel, envelope.time);
}

function record(parcel, time) {
  const list = byId("movements");
  if (list.querySelector(`[data-number="${Number(parcel.movement)}"]`)) return;
  const line = byId("movement").content.firstElementChild.cloneNode(true);
  line.dataset.number = parcel.movement;
  line.dataset.status = parcel.status;
  line.querySelector("[data-slot=label]").textContent = label(parcel.status);
  line.querySelector("[data-slot=number]").textContent = `#${parcel.movement}`;
  setTime(line.querySelector("[data-slot=at]"), time);
  list.prepend(line);
  glow(line);
  say(label(parcel.status));
}

function notice(parcel, text) {
  if (parcel.code !== page.dataset.code) return;
  byId("notice").textContent = text;
  byId("notice").hidden = false;
}
