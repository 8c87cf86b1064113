// The writing half of the Socket.IO stack: express and pg. A trigger notifies with the row, as its users do it.
import express from "express";
import pg from "pg";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 32 });
await pool.query(`
  CREATE TABLE leads (
    id uuid PRIMARY KEY, branch_id uuid NOT NULL, name text NOT NULL, status text NOT NULL, notes text,
    created_at timestamptz NOT NULL DEFAULT now());
  CREATE FUNCTION notify_lead() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN PERFORM pg_notify('leads', row_to_json(NEW)::text); RETURN NULL; END $$;
  CREATE TRIGGER notify_lead AFTER INSERT ON leads FOR EACH ROW EXECUTE FUNCTION notify_lead();`);

const app = express();
app.disable("x-powered-by");
app.use(express.json());
app.post("/api/leads", async (request, response) => {
  const { id, branch_id, name, status, notes } = request.body;
  const { rows } = await pool.query({
    name: "insert_lead", // prepared once a connection
    text: "INSERT INTO leads (id, branch_id, name, status, notes) VALUES ($1, $2, $3, $4, $5) RETURNING *",
    values: [id, branch_id, name, status, notes],
  });
  response.status(201).json(rows[0]);
});
app.listen(Number(process.env.API_PORT), "127.0.0.1", () => console.log("ready"));
