/**
 * One event of a stream.
 *
 * @typedef {object} Told
 * @property {(string | [any])[]} parts  strings are text; an array holds one value of JSON
 * @property {string} [state]  `running`, or how the stream ended
 * @property {string} [error]  why it failed
 * @property {number} [retry]  after how many milliseconds to come back, since the server ends
 * @property {any} [metadata]
 */

/**
 * A part of a stream: text, or a value of JSON; with the offset after it.
 *
 * @typedef {{text?: string, data?: any, offset: number}} Part
 */

/** How long the server may say nothing, at first and later, in milliseconds: a proxy may hold back what it sends. */
const PATIENCE = 5000;
const SILENCE = 40_000;

/**
 * Yield the lines of a response that have data, or the whole response where it is no stream.
 *
 * @param {Response} response
 * @param {() => void} heard  called whenever something comes
 * @returns {AsyncGenerator<Told>}
 */
async function* read(response, heard) {
  if (!response.headers.get("content-type")?.includes("event-stream")) {
    yield response.json();
    return;
  }
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = /** @type {string} */ (lines.pop());
    for (const line of lines) if (/^data: /.test(line)) yield JSON.parse(line.slice(6));
  }
}

/** The address of the streams, as the page's tag says. */
const base = () =>
  /** @type {HTMLElement | null} */ (document.querySelector("script[data-livepush]"))?.dataset.url ?? "/livepush/";

/** A stream: iterate over it to read it. Its fields say how far that has come. */
export class Stream {
  /** The text so far. */
  text = "";
  /** `running`, or how it ended. */
  state = "running";
  /** Why it failed. */
  error = "";
  /** How far the work has come, from 0 to 1. @type {number | undefined} */
  progress;
  /** @type {any} */
  metadata;

  /**
   * @param {string} id  its id or its address
   * @param {{after?: number, signal?: AbortSignal, headers?: HeadersInit}} [options]
   */
  constructor(id, { after = 0, signal, headers } = {}) {
    this.url = new URL(id.includes("/") ? id : `${base()}streams/${id}`, location.href);
    this.url.pathname = this.url.pathname.replace(/\/?$/, "/");
    /** The reader's offset. */
    this.offset = +after;
    this.signal = signal;
    this.headers = headers;
  }

  /** Ask its producer to stop. */
  stop() {
    const token = document.cookie.match(/csrf\w*=([^;]+)/)?.[1] ?? "";
    const headers = { "x-csrftoken": token, ...Object.fromEntries(new Headers(this.headers)) };
    return fetch(`${new URL(`stop/${this.url.search}`, this.url)}`, { method: "POST", headers });
  }

  /** Yield its parts as they come: `{text}` or `{data}`, each with the `offset` after it. */
  async *[Symbol.asyncIterator]() {
    let wait = 0;
    let polls = false;
    let isRefused;
    while (this.state === "running") {
      const controller = new AbortController();
      const abort = () => controller.abort();
      this.signal?.addEventListener("abort", abort, { signal: controller.signal });
      let timer = setTimeout(abort, polls ? SILENCE : PATIENCE);
      let came;
      try {
        this.signal?.throwIfAborted();
        const url = new URL(this.url);
        url.searchParams.set("after", `${this.offset}`);
        url.searchParams.set(polls ? "wait" : "format", polls ? "25" : "livepush");
        const response = await fetch(`${url}`, {
          cache: "no-store",
          headers: /** @type {any} */ (this.headers),
          signal: controller.signal,
        });
        const heard = () => {
          came = true;
          clearTimeout(timer);
          timer = setTimeout(abort, SILENCE);
        };
        if (response.ok) {
          for await (const told of read(response, heard)) {
            wait = told.retry ?? (told.parts.length ? 0 : 1000); // without ASGI the answer comes at once
            yield* this.take(told);
          }
        } else if (!/^5|^4(08|25|29)/.test(/** @type {any} */ (response.status))) {
          isRefused = true;
          throw Error(`livepush: ${response.status}`);
        }
      } catch (error) {
        if (this.signal?.aborted || isRefused) throw error;
        polls ||= !came && controller.signal.aborted;
      } finally {
        clearTimeout(timer);
        abort();
      }
      if (this.state === "running") await new Promise((awake) => setTimeout(awake, wait * (1 + Math.random())));
      wait = Math.min(wait * 2 || 500, 5000);
    }
  }

  /** @param {Told} told */
  *take({ parts, state, error = "", metadata }) {
    this.error = error;
    this.metadata = metadata ?? this.metadata;
    for (const part of parts) {
      this.signal?.throwIfAborted();
      const isText = typeof part === "string";
      this.offset += isText ? [...part].length : 1; // characters, not UTF-16's units
      if (isText) this.text += part;
      else this.progress = part[0]?.progress ?? this.progress;
      yield/** @type {Part} */ ({ ...(isText ? { text: part } : { data: part[0] }), offset: this.offset });
    }
    this.state = state ?? this.state;
  }
}
