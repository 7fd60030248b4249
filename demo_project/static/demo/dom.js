/** Small helpers around the page's elements: data only ever becomes text. */

export const STATUSES = ["ordered", "packed", "transit", "out", "delivered"];
export const LABELS = ["Ordered", "Packed", "In transit", "Out for delivery", "Delivered"];

/** Return a status's label. */
export const label = (status) => LABELS[STATUSES.indexOf(status)];

/** Return an element by its id. */
export const byId = (id) => document.getElementById(id);

/** Tell whether an event came through a group. A page with the bell also gets the events of its user's own group. */
export const isOf = ({ group, groups = [group] }, wanted) => groups.includes(wanted);

/** Return a form's fields, with the CSRF token of now: a login in another tab has changed that of the page. */
export function fieldsOf(form) {
  const fields = new FormData(form);
  const token = document.cookie.match(/(?:^|; )livepush_demo_csrf=([^;]+)/);
  if (token) fields.set("csrfmiddlewaretoken", token[1]);
  return fields;
}

/** Return a copy of a template's element for a parcel. */
export function copy(template, code) {
  const element = byId(template).content.firstElementChild.cloneNode(true);
  element.dataset.code = code;
  for (const link of element.querySelectorAll("a[href]")) link.href = link.getAttribute("href").replace("CODE", code);
  for (const form of element.querySelectorAll("form")) {
    form.setAttribute("action", form.getAttribute("action").replace("CODE", code));
  }
  return element;
}

/** Put a parcel's data into the slots of an element. */
export function fill(element, parcel) {
  element.dataset.movement = parcel.movement;
  const texts = { ...parcel, "eta-label": parcel.status === "delivered" ? "Delivered" : "Expected" };
  for (const slot of element.querySelectorAll("[data-slot]")) {
    const value = texts[slot.dataset.slot];
    if (slot.localName === "time") setTime(slot, value);
    else if (value !== undefined) slot.textContent = value;
  }
}

/** Show on a parcel's track how far it is. */
export function fillTrack(element, status) {
  const here = STATUSES.indexOf(status);
  element.dataset.status = status;
  element.querySelectorAll(".track li").forEach((step, place) => {
    step.dataset.state = place < here ? "done" : place === here ? "now" : "ahead";
    if (place === here) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
  });
}

/** Show the page's times in the visitor's own zone. */
export function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) setTime(time, time.dateTime);
}

/** Tell users of screen readers. */
export function say(text) {
  byId("said").textContent = text;
}

/** Make an element glow for a moment. */
export function glow(element) {
  element.classList.remove("fresh");
  void element.offsetWidth; // lets the animation start again
  element.classList.add("fresh");
}

/** Show a time; one that is not known leaves what is there. */
export function setTime(element, iso) {
  if (!iso || Number.isNaN(Date.parse(iso))) return;
  element.dateTime = iso;
  element.textContent = when(new Date(iso));
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat("en-GB", { weekday: "short" });

function when(date) {
  const today = date.toDateString() === new Date().toDateString();
  return `${today ? "Today" : weekday.format(date)} ${clock.format(date)}`;
}
