/** @typedef {import("./types.js").Envelope} Envelope */
/** @typedef {(data: any, envelope: Envelope) => void} Listener */

/** Those who hear of events: functions by type, and everybody who listens on the target. */
export class Listeners {
  /** @type {Map<string, Set<Listener>>} */
  #byType = new Map();
  #target;
  #report;

  /**
   * @param {EventTarget} target
   * @param {(error: unknown) => void} report
   */
  constructor(target, report) {
    this.#target = target;
    this.#report = report;
  }

  /**
   * @param {string} type
   * @param {Listener} listener
   */
  add(type, listener) {
    this.#byType.set(type, new Set(this.#byType.get(type)).add(listener));
  }

  /**
   * @param {string} type
   * @param {Listener} listener
   */
  remove(type, listener) {
    this.#byType.get(type)?.delete(listener);
  }

  /**
   * Tell everybody of an event; who throws disturbs nobody else.
   *
   * @param {Envelope} envelope
   */
  tell(envelope) {
    for (const type of [envelope.type, "*"]) {
      for (const listener of this.#byType.get(type) ?? []) {
        try {
          listener(envelope.data, envelope);
        } catch (error) {
          this.#report(error);
        }
      }
    }
    this.dispatch("event", envelope);
    this.dispatch(`event:${envelope.type}`, envelope);
  }

  /**
   * Dispatch `livepush:<name>` on the target.
   *
   * @param {string} name
   * @param {object} detail
   */
  dispatch(name, detail) {
    this.#target.dispatchEvent(new CustomEvent(`livepush:${name}`, { detail }));
  }
}
