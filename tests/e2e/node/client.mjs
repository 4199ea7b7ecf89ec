// A WebSocket client of the npm package `ws`. Its argument is a JSON object of options; it prints a
// JSON line for each event and takes commands as JSON lines on stdin (see NodeClient in clients.py).
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import WebSocket from "ws";

const options = JSON.parse(process.argv[2]);
const say = (event) => process.stdout.write(JSON.stringify(event) + "\n");

const socket = new WebSocket(options.url, options.protocols, {
  headers: options.headers,
  perMessageDeflate: options.deflate ? { threshold: 0 } : false,
  ca: options.ca ? readFileSync(options.ca) : undefined,
});

socket.on("upgrade", (response) => say({ event: "upgrade", headers: response.headers }));
socket.on("open", () =>
  say({ event: "open", protocol: socket.protocol, extensions: socket.extensions }));
socket.on("message", (data, binary) =>
  say({ event: "message", data: data.toString(binary ? "base64" : "utf8"), binary }));
socket.on("ping", (data) => say({ event: "ping", data: data.toString() }));
socket.on("pong", (data) => say({ event: "pong", data: data.toString() }));
socket.on("error", (error) => say({ event: "error", message: error.message }));
socket.on("close", (code, reason) => say({ event: "close", code, reason: reason.toString() }));
socket.on("unexpected-response", (request, response) => {
  const parts = [];
  response.on("data", (part) => parts.push(part));
  response.on("end", () =>
    say({
      event: "refused",
      status: response.statusCode,
      headers: response.headers,
      body: Buffer.concat(parts).toString(),
    }));
});

const commands = {
  send: (text) => socket.send(text),
  fragments: (parts) => parts.forEach((part, i) => socket.send(part, { fin: i + 1 === parts.length })),
  ping: (text) => socket.ping(text),
  close: ([code, reason]) => socket.close(code, reason),
  end: () => socket.terminate(),
};
createInterface({ input: process.stdin }).on("line", (line) => {
  for (const [name, value] of Object.entries(JSON.parse(line))) {
    commands[name](value);
  }
});
