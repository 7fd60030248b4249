/** A customer's own orders. */

import { byId, copy, fill, fillTrack, glow, label, localTimes, say } from "./dom.js";
import "./forms.js";
import { mover } from "./motion.js";
import "./panel.js";

const orders = byId("orders");
const change = mover(() => [...orders.children]);

// scene: orders
livepush.on("parcel.created", (parcel) => change(() => place(parcel)));
livepush.on("parcel.updated", (parcel) => change(() => place(parcel)));
livepush.on("parcel.deleted", (parcel) => change(() => remove(parcel)));
livepush.on("parcel.removed", (parcel) => change(() => remove(parcel)));
// scene: end
localTimes(orders);

function place(parcel) {
  const order = find(parcel.code) ?? copy("order", parcel.code);
  if (Number(order.dataset.movement) > parcel.movement) return; // the page was rendered after it
  if (orders.firstElementChild !== order) orders.prepend(order);
  fill(order, parcel);
  fillTrack(order, parcel.status);
  glow(order);
  say(`${parcel.item}: ${label(parcel.status)}`);
  byId("empty").hidden = true;
}

function remove(parcel) {
  find(parcel.code)?.remove();
  byId("empty").hidden = orders.children.length > 0;
}

function find(code) {
  return orders.querySelector(`[data-code="${CSS.escape(code)}"]`);
}
