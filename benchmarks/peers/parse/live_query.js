// Parse's LiveQuery server in a process of its own, as its guide advises, fed through Redis.
import { createServer } from "node:http";
import { ParseServer } from "parse-server";

// It only forwards; but in a process where no Parse Server has started it does not find the application's settings.
const parse = new ParseServer({
  databaseURI: process.env.DATABASE_URL,
  appId: "bench",
  masterKey: process.env.MASTER_KEY,
  serverURL: `http://127.0.0.1:${process.env.API_PORT}/parse`,
  silent: true,
});
await parse.start();
const server = createServer();
await ParseServer.createLiveQueryServer(server, {
  appId: "bench",
  masterKey: process.env.MASTER_KEY,
  serverURL: `http://127.0.0.1:${process.env.API_PORT}/parse`,
  redisURL: process.env.REDIS_URL,
});
server.listen({ port: Number(process.env.GATEWAY_PORT), host: "127.0.0.1", backlog: 4096 }, () => console.log("ready"));
