// Sends one message and prints the answer. Node 18 and up with the npm package `ws`:
//   npm install ws && node client.mjs
// The quickstart fills in the URL and the token.
import WebSocket from "ws";

const socket = new WebSocket("SLUICE_URL", { headers: { Authorization: "Bearer SLUICE_TOKEN" } });
socket.on("open", () => socket.send("Hello from Node"));
socket.on("message", (data) => {
  console.log(data.toString());
  socket.close(1000);
});
socket.on("unexpected-response", (request, response) => {
  response.on("data", (body) => console.error(response.statusCode, body.toString()));
});
socket.on("close", (code, reason) => console.log("closed", code, reason.toString()));
socket.on("error", (error) => console.error(error.message));
