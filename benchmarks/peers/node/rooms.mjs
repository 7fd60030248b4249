// Socket.IO with the Redis adapter: what a client says or moves goes to everybody in its room.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { Server } from "socket.io";
import { broker } from "./broker.mjs";

const pubClient = broker();
const subClient = pubClient.duplicate();
await Promise.all([pubClient.connect(), subClient.connect()]);

const server = createServer((_request, response) => response.end("true"));
const io = new Server(server, { adapter: createAdapter(pubClient, subClient) });
io.on("connection", (socket) => {
  socket.join("room");
  socket.on("said", (data) => io.to("room").emit("said", data));
  socket.on("moved", (data) => io.to("room").volatile.emit("moved", data));
});
server.listen(Number(process.env.BENCH_PORT), "127.0.0.1");
