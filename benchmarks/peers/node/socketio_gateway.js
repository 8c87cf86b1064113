// The socket half: Socket.IO with the Redis adapter, fed by LISTEN. Tuned as its page on performance says: WebSocket only,
// no compression, bufferutil, and the first HTTP request of each client let go.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import pg from "pg";
import { createClient } from "redis";
import { Server } from "socket.io";

const publisher = createClient({ url: process.env.REDIS_URL });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);

const server = createServer();
const io = new Server(server, { transports: ["websocket"], serveClient: false, perMessageDeflate: false });
io.adapter(createAdapter(publisher, subscriber));
io.engine.on("connection", (raw) => { raw.request = null; });
io.on("connection", (socket) => { socket.join("leads"); });

const listener = new pg.Client({ connectionString: process.env.DATABASE_URL });
await listener.connect();
listener.on("notification", ({ payload }) => { io.to("leads").emit("lead", JSON.parse(payload)); });
await listener.query("LISTEN leads");
server.listen({ port: Number(process.env.GATEWAY_PORT), host: "127.0.0.1", backlog: 4096 }, () => console.log("ready"));
