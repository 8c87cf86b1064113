// `ws` as its documentation has it: a POST goes to every client by `send`. Without compression, which is its default.
import { createServer } from "node:http";
import { WebSocketServer, WebSocket } from "ws";

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const data = Buffer.concat(chunks);
    for (const client of sockets.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary: false });
    }
    response.writeHead(201, { "Content-Length": 2 }).end("{}");
  });
});
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
server.listen({ port: Number(process.env.API_PORT), host: "127.0.0.1", backlog: 4096 }, () => console.log("ready"));
