import { sseParser } from "../sse-parser.js";
import { address, parseFrame } from "../wire.js";
import { blocked, lost } from "./ending.js";
import { over } from "./http.js";

/**
 * Server-Sent Events over fetch, which unlike EventSource shows statuses, headers and heartbeats.
 *
 * @type {import("../types.js").Transport}
 */
export function sse(request, io, sink) {
  const parse = sseParser((data) => sink.receive(parseFrame(data)));

  return over(io, sink, async (get) => {
    const { headers, body } = await get(address(request, io.base, "sse/", "format=envelope"));
    if (!headers.get("content-type")?.startsWith("text/event-stream")) throw blocked("no event stream");
    const reader = /** @type {ReadableStream<Uint8Array>} */ (body).getReader();
    for (;;) {
      const { value } = await reader.read();
      if (!value) throw lost("ended");
      sink.heard();
      parse(value);
    }
  });
}
