import { createClient } from "redis";

/** Return a client of the broker, not connected yet: of an address with a port or of a Unix socket. */
export function broker() {
  const address = process.env.BENCH_REDIS ?? "";
  const [, path] = address.match(/^(?:valkey\+)?unix:\/\/([^?]+)/) ?? [];
  const client = createClient(path ? { socket: { path } } : { url: address.replace(/^valkey:/, "redis:") });
  client.on("error", console.error);
  return client;
}
