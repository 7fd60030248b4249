import { address, parseFrame, SUBPROTOCOL } from "../wire.js";
import { lost, refusal } from "./ending.js";

/**
 * One envelope or an array of them a text (RFC 6455).
 *
 * @param {import("../types.js").Request} request
 * @param {import("../types.js").Receive} receive
 * @param {import("../types.js").End} end
 */
export const websocket = (request, receive, end) => {
  const { href } = address(request, "ws/");
  const socket = new WebSocket(href.replace("http", "ws"), SUBPROTOCOL);

  socket.onmessage = ({ data }) => {
    try {
      receive(parseFrame(data));
    } catch (error) {
      end(lost(error));
    }
  };
  socket.onclose = ({ code }) => end(refusal(code));
  return () => socket.close();
};
