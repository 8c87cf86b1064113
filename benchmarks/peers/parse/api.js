// Parse Server on PostgreSQL, which publishes what was saved to Redis for the LiveQuery server.
import { createServer } from "node:http";
import express from "express";
import { ParseServer } from "parse-server";

const url = `http://127.0.0.1:${process.env.API_PORT}/parse`;
const parse = new ParseServer({
  databaseURI: process.env.DATABASE_URL,
  appId: "bench",
  masterKey: process.env.MASTER_KEY,
  serverURL: url,
  allowClientClassCreation: true,
  allowCustomObjectId: true,
  silent: true,
  liveQuery: { classNames: ["Lead"], redisURL: process.env.REDIS_URL },
});
await parse.start();
const app = express();
app.use("/parse", parse.app);
createServer(app).listen(Number(process.env.API_PORT), "127.0.0.1", () => console.log("ready"));
