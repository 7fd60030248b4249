/** @typedef {import("../types.js").Link} Link */
/** @typedef {import("../types.js").Message} Message */
/** @typedef {import("../types.js").Outcome} Outcome */

/** How long an answer may take over a WebSocket and over HTTP, in milliseconds. */
const ANSWER_WITHIN = 5000;
const RESPONSE_WITHIN = 20_000;
/**
 * The most characters of a request that goes on when the page is closed; each is at most three bytes (WHATWG Fetch,
 * section 4.5: 64 KiB together).
 */
const LAST_WORDS = 20_000;
/** The statuses with which a proxy refuses a message. */
const REFUSED = /^4(?!01|08|25|29)/;
/** How often it must refuse one, and for how long (in milliseconds, unless the message is too large), to end it. */
const REFUSALS = 8;
const REFUSED_FOR = 600_000;

/**
 * Return how to send over this tab's own WebSocket: `talk` answers with nothing where there is none, and with
 * `false` where no answer came: an ephemeral message is sent only once.
 *
 * @param {Link} link
 */
export const speak = (link) => {
  /** The functions that wait for an answer, by their command's `ref`. @type {Map<unknown, (outcome?: Outcome) => void>} */
  const waiting = new Map();
  let commands = 0;

  return {
    /** @param {Outcome & {ref?: unknown}} outcome */
    hear(outcome) {
      waiting.get(outcome.ref)?.(outcome);
      // the server has not read which message that was: over HTTP, each gets an answer of its own
      if (!outcome.ref && outcome.code === "too_large") for (const [, end] of waiting) end();
    },

    /**
     * @param {Message} message
     * @param {boolean} [isUnanswered]  do not ask for an answer
     * @returns {Promise<Outcome | undefined>}
     */
    talk: (message, isUnanswered) =>
      new Promise((done) => {
        const ref = isUnanswered ? undefined : ++commands;
        const command = JSON.stringify({ command: "send", ref });
        if (!link.say(`${command.slice(0, -1)},${message.text.slice(1)}`)) return done(undefined);
        if (isUnanswered) return done({ ok: true });
        /** @param {any} [outcome] */
        const end = (outcome) => {
          clearTimeout(timer);
          waiting.delete(ref);
          link.target.removeEventListener("livepush:state", lost);
          done(outcome);
        };
        const lost = () => end(false);
        const timer = setTimeout(lost, ANSWER_WITHIN);
        waiting.set(ref, end);
        link.target.addEventListener("livepush:state", lost);
      }),
  };
};

/**
 * Return the outcome of a message that a proxy has answered in place of the server: nothing while it may still pass.
 *
 * @param {Message} message
 * @param {any} status
 */
const refusal = (message, status) => {
  if (REFUSED.test(status)) {
    message.refused ??= Date.now();
    message.refusals = (message.refusals ?? 0) + 1;
    const isTooLarge = status === 413;
    if (message.refusals >= REFUSALS && (isTooLarge || Date.now() - message.refused > REFUSED_FOR)) {
      return { ok: false, code: isTooLarge ? "too_large" : "blocked", message: `A proxy answers ${status}.` };
    }
  }
  return undefined;
};

/**
 * Send over HTTP; return nothing if no answer came.
 *
 * @param {Link} link
 * @param {Message} message
 * @returns {Promise<Outcome | undefined>}
 */
export const post = async (link, message) => {
  try {
    const { text } = message;
    const token = await link.getToken?.();
    const response = await fetch(new URL(`${link.url}send/`, location.href), {
      method: "POST",
      headers: { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) },
      body: text,
      keepalive: text.length < LAST_WORDS,
      signal: AbortSignal.timeout(RESPONSE_WITHIN),
    });
    const outcome = await response.json().catch(() => ({}));
    if (typeof outcome.ok !== "boolean") return refusal(message, response.status);
    const after = /** @type {any} */ (response.headers.get("retry-after"));
    return after ? { ...outcome, retry: after * 1000 } : outcome;
  } catch {
    return undefined;
  }
};

/**
 * Return a refusal as an error.
 *
 * @param {Outcome} outcome
 */
export const sentence = ({ code, message, errors }) => Object.assign(new Error(message), { code, errors });

/** @param {unknown} data */
const isBytes = (data) => data instanceof ArrayBuffer || ArrayBuffer.isView(data);

/** Refuse what JSON would silently change. @param {string} _name @param {unknown} value */
const checked = (_name, value) => {
  if (value instanceof Blob || isBytes(value)) throw new TypeError("expected bytes alone, and no Blob");
  return value;
};

/**
 * Encode a message, once, and put a copy in place of its data: what the server gets. Return whether that can be done. If
 * not, reject it.
 *
 * @param {Message} message
 */
export const encode = (message) => {
  const { group, type, data, key, ephemeral, login } = message;
  try {
    const { buffer = data, byteOffset, byteLength } = /** @type {any} */ (data ?? {});
    const bytes = isBytes(data) && new Uint8Array(buffer, byteOffset, byteLength).slice();
    message.text = JSON.stringify(
      {
        group,
        type,
        data: bytes ? { $bytes: btoa(Array.from(bytes, character).join("")) } : data,
        key: ephemeral ? undefined : key,
        ephemeral,
        login,
      },
      checked,
    );
    message.data = bytes || JSON.parse(message.text).data;
    return true;
  } catch (error) {
    message.reject(sentence({ ok: false, code: "bad_event", message: `The message can't be JSON: ${error}` }));
    return false;
  }
};

/** @param {number} byte */
const character = (byte) => String.fromCharCode(byte);
