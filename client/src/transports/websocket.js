import { address, parseBinary, parseFrame, SUBPROTOCOL } from "../wire.js";
import { lost, refusal } from "./ending.js";

/**
 * Use a WebSocket (RFC 6455). Each text message is one envelope or an array of envelopes.
 *
 * @param {import("../types.js").Request} request
 * @param {import("../types.js").Receive} receive
 * @param {import("../types.js").End} end
 */
export const websocket = (request, receive, end) => {
  const url = address(request, "ws/").href.replace("http", "ws");
  const socket = new WebSocket(url, request.protocols ?? SUBPROTOCOL);

  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => {
    try {
      receive(typeof data === "string" ? parseFrame(data) : [parseBinary(data)]);
    } catch (error) {
      end(lost(error));
    }
  };
  socket.onclose = ({ code }) => end(refusal(code));
  const shut = () => socket.close();
  shut.speak = (/** @type {string} */ text) => socket.readyState === 1 && [socket.send(text)];
  return shut;
};
