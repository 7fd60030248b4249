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
  /** The part of a line that has come; only a carriage return if the line has ended and its newline may follow. */
  let rest = "";

  /** @param {string} line */
  const take = (line) => {
    if (line === "" && data.length) onData(data.splice(0).join("\n"));
    const field = /^data(?:: ?|$)(.*)/s.exec(line);
    if (field) data.push(/** @type {string} */ (field[1]));
  };

  return (bytes) => {
    const text = rest + decoder.decode(bytes, { stream: true });
    const lines = text.split(/\r\n?|\n/);
    if (rest === "\r") lines.shift();
    rest = /** @type {string} */ (lines.pop());
    if (text.endsWith("\r")) rest = "\r";
    for (const line of lines) take(line);
  };
};
