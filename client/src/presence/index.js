/** The entry point for bundlers. */

export { openRoom } from "./room.js";
