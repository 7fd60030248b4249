/**
 * Read a stream of Server-Sent Events (WHATWG HTML, section 9.2.6), given its bytes in pieces of any size.
 *
 * The client's format puts everything into `data`, so the other fields are ignored.
 *
 * @param {(data: string) => void} onData  called for each event with its data
 * @returns {(bytes: Uint8Array) => void}
 */
export const sseParser = (onData) => {
  const decoder = new TextDecoder(); // drops a byte order mark, as the standard asks
  /** @type {string[]} */
  const data = [];
  /**
   * The pieces of a line that has not ended. They are joined at its end: else each piece would copy those before it.
   *
   * @type {string[]}
   */
  const begun = [];
  /** Whether the text so far ends with a carriage return, whose newline may follow. */
  let returned = false;

  /** @param {string} line */
  const take = (line) => {
    if (!line && data.length) onData(data.splice(0).join("\n"));
    const field = /^data(?:: ?|$)(.*)/s.exec(line);
    if (field) data.push(/** @type {string} */ (field[1]));
  };

  return (bytes) => {
    const text = decoder.decode(bytes, { stream: true });
    if (!text) return;
    const lines = (returned ? text.replace(/^\n/, "") : text).split(/\r\n?|\n/);
    returned = text.endsWith("\r");
    const rest = /** @type {string} */ (lines.pop());
    for (const line of lines) take(begun.splice(0).join("") + line);
    begun.push(rest);
  };
};
