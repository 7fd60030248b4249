/** The parts of the client that few pages need: the transports after the first, and the ways to follow another tab. */

export { listen } from "./follower.js";
export { byLease } from "./lease.js";
export { peek } from "./peek.js";
export { longpoll, poll } from "./transports/polling.js";
export { websocket } from "./transports/websocket.js";
