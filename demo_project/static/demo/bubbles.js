/** The messages of a conversation as the page shows them: stored ones in order, then those that wait for an answer. */

import { byId, setTime } from "./dom.js";

const SENTENCES = {
  forbidden: "You may not write about this parcel any more.",
  other_login: "Somebody else has logged in meanwhile, so this was not sent.",
  failed: "The shop could not take this message. Edit it, and send it again.",
};

export class Bubbles {
  #list;
  #me;
  #readUpto;

  /**
   * @param {HTMLElement} list
   * @param {{user: string, userName: string, staff?: string, readUpto: string}} me  the one who looks at the page
   */
  constructor(list, me) {
    this.#list = list;
    this.#me = me;
    this.#readUpto = Number(me.readUpto);
    for (const time of list.querySelectorAll("time")) setTime(time, time.dateTime);
    this.#group();
  }

  /** Show what was written here, and waits for an answer; return whether it is new to the page. */
  wait({ text, ref }) {
    if (this.find(ref)) return false;
    const bubble = this.#make({ text, ref, at: new Date().toISOString(), staff: "staff" in this.#me }, this.#me.user);
    bubble.querySelector("[data-slot=name]").textContent = this.#me.userName;
    this.#list.append(bubble);
    this.relabel();
    this.#group();
    return true;
  }

  /** Show a message as it was stored; return its element if it is new to the page. */
  store(message, { id, name }) {
    const known = this.find(message.ref, id) ?? this.#list.querySelector(`[data-id="${Number(message.id)}"]`);
    const bubble = known ?? this.#make(message, id);
    if (known?.dataset.id) return null;
    bubble.dataset.id = message.id;
    bubble.querySelector("[data-slot=name]").textContent = name;
    setTime(bubble.querySelector("time"), message.at);
    this.#place(bubble);
    this.relabel();
    this.#group();
    return known ? null : bubble;
  }

  /** Show that a message was refused, and why. */
  refuse(ref, { code, message, errors }) {
    const bubble = this.find(ref);
    if (!bubble || bubble.dataset.id || bubble.dataset.refused) return;
    bubble.dataset.refused = code;
    const refusal = byId("refused").content.firstElementChild.cloneNode(true);
    refusal.querySelector("[data-slot=reason]").textContent = errors?.text?.[0] ?? SENTENCES[code] ?? message;
    bubble.append(refusal);
    this.relabel();
  }

  /** Note that the other side has read up to a message. */
  read(upto) {
    this.#readUpto = Math.max(this.#readUpto, upto);
    this.relabel();
  }

  /** Say below each message written here what has become of it. */
  relabel() {
    const waits = livepush.state === "open" && navigator.onLine ? "Sending…" : "Waiting for the connection…";
    for (const bubble of this.#list.querySelectorAll(".own")) {
      const { id, refused } = bubble.dataset;
      const stored = Number(id) <= this.#readUpto ? "Read" : "Sent";
      bubble.classList.toggle("waiting", !id && !refused);
      bubble.querySelector("[data-slot=state]").textContent = refused ? "Not sent" : id ? stored : waits;
    }
  }

  /** Return the element of a message by the reference that its author's page made. */
  find(ref, author = this.#me.user) {
    return this.#list.querySelector(`[data-ref="${CSS.escape(ref)}"][data-author="${CSS.escape(author)}"]`);
  }

  /** Return the number of the last message that somebody else wrote; 0 for none. */
  lastOfOthers() {
    return Number([...this.#list.querySelectorAll(".message:not(.own)")].at(-1)?.dataset.id ?? 0);
  }

  #make({ text, ref, at, staff }, author) {
    const bubble = byId("message").content.firstElementChild.cloneNode(true);
    Object.assign(bubble.dataset, { ref, author, id: "" });
    bubble.classList.toggle("own", author === this.#me.user);
    bubble.querySelector("[data-slot=text]").textContent = text;
    bubble.querySelector("[data-slot=staff]").hidden = !staff;
    setTime(bubble.querySelector("time"), at);
    return bubble;
  }

  /** Put a message before the first that was stored later, or that waits. */
  #place(bubble) {
    const number = Number(bubble.dataset.id);
    const after = [...this.#list.children].find(
      (other) => other !== bubble && (!other.dataset.id || Number(other.dataset.id) > number),
    );
    if (bubble.isConnected && bubble.nextElementSibling === (after ?? null)) return; // moved, it would be read out again
    this.#list.insertBefore(bubble, after ?? null);
  }

  /** Name an author once above messages that follow each other. */
  #group() {
    for (const bubble of this.#list.children) {
      const before = bubble.previousElementSibling;
      bubble.classList.toggle("same", before?.dataset.author === bubble.dataset.author);
    }
  }
}
