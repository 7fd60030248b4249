// The library ws: each line of the feed goes to every client.
import { createServer } from "node:http";
import net from "node:net";
import { WebSocket, WebSocketServer } from "ws";

const server = createServer((_request, response) => response.end("ready"));
const sockets = new WebSocketServer({ server, path: "/ws/" });
sockets.on("connection", (socket) => socket.on("error", console.error));

function broadcast(event) {
  for (const socket of sockets.clients) {
    if (socket.readyState === WebSocket.OPEN) socket.send(event, { binary: false });
  }
}

const feed = net.createServer((publisher) => {
  let rest = Buffer.alloc(0);
  publisher.on("error", console.error);
  publisher.on("data", (data) => {
    rest = Buffer.concat([rest, data]);
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      broadcast(rest.subarray(0, end));
      rest = rest.subarray(end + 1);
    }
  });
});
feed.listen(Number(process.env.BENCH_FEED), "127.0.0.1", () => {
  server.listen(Number(process.env.BENCH_PORT), "127.0.0.1");
});
