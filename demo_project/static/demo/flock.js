/** The visitors of the field. What others send decides a place, a colour and a bird, and becomes nothing else. */

import { byId } from "./dom.js";

const BIRDS = [
  "Avocet", "Bittern", "Bullfinch", "Crane", "Curlew", "Dipper", "Dunlin", "Egret", "Firecrest", "Goldfinch", "Heron",
  "Hoopoe", "Jackdaw", "Kestrel", "Kingfisher", "Lapwing", "Linnet", "Magpie", "Nightingale", "Oriole", "Plover",
  "Puffin", "Redstart", "Robin", "Sandpiper", "Siskin", "Starling", "Swift", "Tern", "Wagtail", "Waxwing", "Wren",
];
const COLOURS = 8;
const MAX_SHOWN = 60;
const GONE_AFTER = 12_000;
const SAID_EVERY = 3000;

/** Return the name of a visitor who has none. */
export const nameOf = (by) => BIRDS[hash(by) % BIRDS.length];

export class Flock {
  #field;
  #list;
  /** By who sends and from which page. @type {Map<string, any>} */
  #others = new Map();
  #own;
  #saying = 0;

  /**
   * @param {HTMLElement} field
   * @param {HTMLElement} list  where the visitors are listed by name
   * @param {{id: string | null, name: string}} me
   * @param {{by: string, x: number, y: number}} place  this visitor's own, which changes
   */
  constructor(field, list, me, place) {
    this.#field = field;
    this.#list = list;
    this.#own = this.#make(me, place);
    this.#own.element.classList.add("own");
    this.#own.chip.append(" (you)");
    this.draw();
  }

  /** Draw this visitor's own dot. */
  draw() {
    move(this.#own, this.#own.place);
  }

  /** Take what another visitor sends; return whether that visitor is new. */
  hear(data, from) {
    const place = placeIn(data);
    if (!place) return false;
    const key = `${from.id ?? ""} ${place.by}`;
    if (place.gone) return this.#remove(key);
    const known = this.#others.get(key);
    if (!known && this.#others.size >= MAX_SHOWN) return false;
    const visitor = known ?? this.#make({ id: from.id, name: from.name || nameOf(place.by) }, place);
    clearTimeout(visitor.timer);
    visitor.timer = setTimeout(() => this.#remove(key), GONE_AFTER);
    if (known && known.turn > place.turn) return false; // a request was overtaken by the next one
    visitor.turn = place.turn;
    move(visitor, place);
    if (known) return false;
    this.#others.set(key, visitor);
    this.#say();
    return true;
  }

  /** Forget all others. */
  clear() {
    for (const key of this.#others.keys()) this.#remove(key);
  }

  #make({ id, name }, place) {
    const element = byId("visitor").content.firstElementChild.cloneNode(true);
    const chip = byId("chip").content.firstElementChild.cloneNode(true);
    for (const each of [element, chip]) {
      each.dataset.colour = hash(id ?? place.by) % COLOURS;
      each.querySelector("[data-slot=name]").textContent = name;
    }
    this.#field.append(element);
    this.#list.append(chip);
    return { element, chip, place, waves: place.waves };
  }

  #remove(key) {
    const visitor = this.#others.get(key);
    if (!visitor) return false;
    clearTimeout(visitor.timer);
    this.#others.delete(key);
    visitor.element.remove();
    visitor.chip.remove();
    this.#say();
    return false;
  }

  /** Tell users of screen readers how many are here, now and then. */
  #say() {
    this.#saying ||= setTimeout(() => {
      this.#saying = 0;
      const count = this.#others.size;
      byId("said").textContent = count ? `${count} other ${count === 1 ? "visitor is" : "visitors are"} here.` : "Nobody else is here.";
    }, SAID_EVERY);
  }
}

function move(visitor, { x, y, via, waves }) {
  const { element } = visitor;
  element.style.left = `${x * 100}%`;
  element.style.top = `${y * 100}%`;
  element.dataset.via = via;
  element.classList.toggle("flip", x > 0.8);
  if (waves > visitor.waves) ripple(element);
  visitor.waves = waves;
}

function ripple(element) {
  element.classList.remove("waving");
  void element.offsetWidth; // lets the animation start again
  element.classList.add("waving");
}

/** Return what another page tells of its visitor; `null` if it is nothing that a page of ours sends. */
function placeIn(data) {
  const { by, x, y, via, waves, turn, gone } = data ?? {};
  if (typeof by !== "string" || by.length > 40) return null;
  if (gone === true) return { by, gone };
  if (![x, y, waves, turn].every(Number.isFinite)) return null;
  return { by, x: clamp(x), y: clamp(y), via: ["mouse", "touch"].includes(via) ? via : "keys", waves, turn };
}

function clamp(part) {
  return Math.min(1, Math.max(0, part));
}

function hash(text) {
  let found = 7;
  for (const letter of String(text)) found = (found * 31 + letter.codePointAt(0)) >>> 0;
  return found;
}
