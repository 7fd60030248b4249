/**
 * Read a stream of Server-Sent Events (WHATWG HTML, section 9.2.6), given its bytes in pieces of any size.
 *
 * The client's format puts all into `data`, so the other fields are passed over.
 *
 * @param {(data: string) => void} onData  called for each event with its data
 * @returns {(bytes: Uint8Array) => void}
 */
export function sseParser(onData) {
  const decoder = new TextDecoder(); // drops a byte order mark, as the standard asks
  /** @type {string[]} */
  const data = [];
  let rest = "";
  let afterReturn = false;

  /** @param {string} line */
  const take = (line) => {
    if (line === "") {
      if (data.length) onData(data.splice(0).join("\n"));
    } else if (line === "data" || line.startsWith("data:")) {
      data.push(line.slice(line[5] === " " ? 6 : 5));
    }
  };

  return (bytes) => {
    let text = decoder.decode(bytes, { stream: true });
    if (text === "") return;
    if (afterReturn && text[0] === "\n") text = text.slice(1);
    afterReturn = text.endsWith("\r");
    const lines = (rest + text).split(/\r\n?|\n/);
    rest = /** @type {string} */ (lines.pop());
    lines.forEach(take);
  };
}
