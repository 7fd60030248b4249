import { sseParser } from "../sse-parser.js";
import { address, parseFrame } from "../wire.js";
import { blocked, lost } from "./ending.js";
import { over } from "./http.js";

/**
 * Read Server-Sent Events with fetch: unlike EventSource, it shows statuses, headers and heartbeats.
 *
 * @param {import("../types.js").Request} request
 * @param {import("../types.js").Receive} receive
 * @param {import("../types.js").End} end
 * @param {() => void} [heard]
 */
export const sse = (request, receive, end, heard) => {
  const parse = sseParser((data) => receive(parseFrame(data)));

  return over(request, end, async (get) => {
    const response = await get(address(request, "sse/?format=envelope"));
    if (!response.headers.get("content-type")?.startsWith("text/event-stream")) throw blocked("no stream");
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    for (;;) {
      const { value } = await reader.read();
      if (!value) throw lost("ended");
      heard?.();
      parse(value);
    }
  });
};
