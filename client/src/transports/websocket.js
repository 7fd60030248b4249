import { address, parseFrame, SUBPROTOCOL } from "../wire.js";
import { lost, refusal } from "./ending.js";

/**
 * One envelope or an array of them a text (RFC 6455).
 *
 * @type {import("../types.js").Transport}
 */
export function websocket(request, io, sink) {
  const { href } = address(request, io.base, "ws/");
  const socket = new io.WebSocket(href.replace(/^http/, "ws"), [SUBPROTOCOL]);

  socket.onmessage = ({ data }) => {
    try {
      sink.receive(parseFrame(data));
    } catch (error) {
      sink.end(lost(error));
    }
  };
  socket.onclose = ({ code }) => sink.end(refusal(code));
  return () => socket.close();
}
