// Socket.IO with the Redis adapter: every client joins one room.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { Server } from "socket.io";
import { broker } from "./broker.mjs";

const pubClient = broker();
const subClient = pubClient.duplicate();
subClient.on("error", console.error);
await Promise.all([pubClient.connect(), subClient.connect()]);

const server = createServer((_request, response) => response.end("ready"));
const io = new Server(server, { adapter: createAdapter(pubClient, subClient) });
io.on("connection", (socket) => {
  socket.join("board");
});
server.listen(Number(process.env.BENCH_PORT), "127.0.0.1");
