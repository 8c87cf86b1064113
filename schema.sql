-- Branchline's database. PostgreSQL 18 or later.
--
-- Map
--   1  types           enumerations of the CRM, and the answer of a write
--   2  identity        organizations, users, sessions, branches, organization_members, teams; invitations, sealed values, audit
--   3  the CRM         clients, leads, contacts, deals, tasks, activity_events
--   4  the log         changes, history, commits, tombstones, mutations, epochs; the relay's leases and positions
--   5  clocks          the hybrid logical clock and the merge by field
--   6  tracking        track(table): encoding, stamping, capture and writing, generated for each table
--   7  numbering       offsets 1, 2, 3 … for each organisation, given at commit
--   8  writing         write_mutations(batch): the one way in for the API
--   9  reading         catalogue(), principals, sort_key()
--  10  partitions      days of the log, months of activity events
--  11  roles, grants and row-level security
--
-- Comments on tables and columns are read by catalogue(). Words first, then tags:
--   @filterable                  a topic or a list may filter by this column
--   @critical                    a write that names its base version is strict unless it says otherwise
--   @sensitive                   never in a record, the log, Redis or history
--   @readable(role, …)           only these roles see the column, or the table
--   @writable(role, …)           only these roles write the table
--   @history                     versions of the table's records outlive the log
-- docs/decisions/0006-comment-grammar.md says more.

SET check_function_bodies = off;

-- 1 types ---------------------------------------------------------------------------------------------------------

CREATE TYPE member_role AS ENUM ('owner', 'admin', 'manager', 'agent', 'viewer');
CREATE TYPE member_reads AS ENUM ('all', 'own');
CREATE TYPE client_status AS ENUM ('prospect', 'active', 'inactive');
CREATE TYPE lead_source AS ENUM ('website', 'referral', 'walk_in', 'phone', 'campaign', 'import');
CREATE TYPE lead_status AS ENUM ('new', 'contacted', 'qualified', 'won', 'lost');
CREATE TYPE deal_stage AS ENUM ('qualification', 'proposal', 'negotiation', 'won', 'lost');
CREATE TYPE task_status AS ENUM ('open', 'in_progress', 'done', 'cancelled');
CREATE TYPE task_priority AS ENUM ('low', 'normal', 'high', 'urgent');
CREATE TYPE activity_kind AS ENUM ('call', 'email', 'meeting', 'note', 'system');
CREATE TYPE change_operation AS ENUM ('insert', 'update', 'delete');

-- One mutation's answer: `status` is applied, merged, duplicate or rejected; `first` is the stored answer of a
-- duplicate; `overwrote` lists what the write replaced though its author had not seen it.
CREATE TYPE mutation_result AS (
  ordinal integer, status text, version bigint, clock text, record json, lost jsonb, code text, detail text,
  first jsonb, overwrote jsonb
);
-- What becomes of a mutation's fields when they meet a record.
CREATE TYPE field_merge AS (winners jsonb, lost jsonb, overwrote jsonb, clocks jsonb);

-- 2 identity ------------------------------------------------------------------------------------------------------

CREATE TABLE organizations (
  id uuid PRIMARY KEY DEFAULT uuidv7(),
  slug varchar(60) NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'),
  name varchar(200) NOT NULL,
  closed_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE organizations IS 'Customers of the system. A closed one refuses sign-in until a job has erased it.';

-- A person, who may belong to several organisations. Global, so without row-level security; only identity code reads it.
CREATE TABLE users (
  id uuid PRIMARY KEY DEFAULT uuidv7(),
  email varchar(254) NOT NULL CHECK (email = lower(email) AND email LIKE '_%@_%'),
  name varchar(200) NOT NULL,
  password_hash text,
  preferences jsonb NOT NULL DEFAULT '{}',
  last_organization_id uuid REFERENCES organizations ON DELETE SET NULL,
  disabled_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (email)
);

CREATE TABLE sessions (
  id uuid PRIMARY KEY DEFAULT uuidv7(),
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  refresh_token_hash bytea UNIQUE,
  previous_refresh_token_hash bytea,
  user_agent varchar(400),
  address varchar(60),
  created_at timestamptz NOT NULL DEFAULT now(),
  last_used_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz
);
CREATE INDEX sessions_by_user ON sessions (user_id, organization_id);
CREATE INDEX sessions_by_previous_token ON sessions (previous_refresh_token_hash);
COMMENT ON TABLE sessions IS 'Logins. An old refresh token that comes back revokes its session: it was stolen.';

CREATE TABLE branches (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  id uuid NOT NULL DEFAULT uuidv7(),
  slug varchar(60) NOT NULL CHECK (slug ~ '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'),
  name varchar(200) NOT NULL,
  city varchar(120),
  timezone varchar(60) NOT NULL DEFAULT 'UTC',
  PRIMARY KEY (organization_id, id),
  UNIQUE (organization_id, slug)
);
COMMENT ON TABLE branches IS 'Places of an organisation. @writable(owner, admin) @history';
COMMENT ON COLUMN branches.slug IS 'Short name for addresses. @filterable';

CREATE TABLE organization_members (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  id uuid NOT NULL DEFAULT uuidv7(),
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  role member_role NOT NULL DEFAULT 'agent',
  reads member_reads NOT NULL DEFAULT 'all',
  branch_ids uuid[],
  title varchar(120),
  disabled_at timestamptz,
  access_changed_at timestamptz,
  PRIMARY KEY (organization_id, id),
  UNIQUE (organization_id, user_id)
);
CREATE INDEX organization_members_by_user ON organization_members (user_id);
COMMENT ON TABLE organization_members IS
  'Who belongs to the organisation, and what they may do. @readable(owner, admin) @writable(owner, admin) @history';
COMMENT ON COLUMN organization_members.user_id IS 'The person. @filterable';
COMMENT ON COLUMN organization_members.branch_ids IS 'Branches that the person may write to; null for all of them.';
COMMENT ON COLUMN organization_members.reads IS 'all: reads every branch. own: reads their own branches and records of no branch.';
COMMENT ON COLUMN organization_members.access_changed_at IS 'When a session of the person last ended before its time.';

CREATE TABLE teams (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  id uuid NOT NULL DEFAULT uuidv7(),
  name varchar(120) NOT NULL CHECK (name <> ''),
  description varchar(2000),
  PRIMARY KEY (organization_id, id),
  UNIQUE (organization_id, name)
);
COMMENT ON TABLE teams IS 'People who work together, across branches. @writable(owner, admin, manager) @history';

CREATE TABLE team_members (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  id uuid NOT NULL DEFAULT uuidv7(),
  team_id uuid NOT NULL,
  user_id uuid NOT NULL,
  PRIMARY KEY (organization_id, id),
  UNIQUE (organization_id, team_id, user_id),
  FOREIGN KEY (organization_id, team_id) REFERENCES teams ON DELETE CASCADE,
  FOREIGN KEY (organization_id, user_id) REFERENCES organization_members (organization_id, user_id) ON DELETE CASCADE
);
CREATE INDEX team_members_by_user ON team_members (organization_id, user_id);
COMMENT ON TABLE team_members IS 'Who is in which team. @writable(owner, admin, manager) @history';
COMMENT ON COLUMN team_members.team_id IS '@filterable';
COMMENT ON COLUMN team_members.user_id IS 'The person. @filterable';

CREATE TABLE invitations (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  id uuid NOT NULL DEFAULT uuidv7(),
  email varchar(254) NOT NULL CHECK (email = lower(email) AND email LIKE '_%@_%'),
  role member_role NOT NULL,
  reads member_reads NOT NULL DEFAULT 'all',
  branch_ids uuid[],
  token_hash bytea NOT NULL,
  invited_by uuid REFERENCES users ON DELETE SET NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  ended_at timestamptz,
  PRIMARY KEY (organization_id, id)
);
CREATE INDEX invitations_by_inviter ON invitations (invited_by);
COMMENT ON TABLE invitations IS 'Memberships that wait for their person. ended_at: accepted or taken back. A token names its organisation, so that they are read within it.';

CREATE TABLE password_resets (
  token_hash bytea PRIMARY KEY,
  user_id uuid NOT NULL UNIQUE REFERENCES users ON DELETE CASCADE,
  expires_at timestamptz NOT NULL
);
COMMENT ON TABLE password_resets IS 'The way back for somebody who has forgotten their password: one a person, by mail, for an hour. Global like users.';

-- Tax ids of clients, and tokens of outside systems (client_id null): AES-256-GCM by the application, whose key is not here.
-- Not tracked, so in no record, log, history or publication. Those of a deleted client go with its tombstone.
CREATE TABLE sealed_values (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  client_id uuid,
  name varchar(60) NOT NULL CHECK (name ~ '^[a-z][a-z0-9_]*$'),
  key_id varchar(16) NOT NULL,
  sealed bytea NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  updated_by uuid REFERENCES users ON DELETE SET NULL,
  UNIQUE NULLS NOT DISTINCT (organization_id, client_id, name)
);
CREATE INDEX sealed_values_by_key ON sealed_values (key_id);
CREATE INDEX sealed_values_by_author ON sealed_values (updated_by);

CREATE TABLE client_portal_access (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  id uuid NOT NULL DEFAULT uuidv7(),
  contact_id uuid NOT NULL,
  token_hash bytea NOT NULL,
  created_by uuid REFERENCES users ON DELETE SET NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  last_used_at timestamptz,
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz,
  PRIMARY KEY (organization_id, id)
);
CREATE INDEX client_portal_access_by_contact ON client_portal_access (organization_id, contact_id);
CREATE INDEX client_portal_access_by_creator ON client_portal_access (created_by);
COMMENT ON TABLE client_portal_access IS 'Tokens with which a contact reads their own records.';

CREATE TABLE security_events (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  id uuid NOT NULL DEFAULT uuidv7(),
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  kind varchar(60) NOT NULL,
  actor_id uuid,
  user_id uuid,
  address varchar(60),
  details jsonb NOT NULL DEFAULT '{}',
  PRIMARY KEY (organization_id, id)
);
COMMENT ON TABLE security_events IS 'Who came in, who was refused, whose rights changed: the application appends and reads, and can do nothing else with it.';

-- A session that ends before its time is a change of its person's membership, and so travels through the log like any other
-- change of rights: every gateway reads them again. A membership that has ended itself was such a change already.
CREATE FUNCTION announce_end_of_access(p_organization uuid, p_user uuid) RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE v_before text := coalesce(current_setting('branchline.organization_id', true), '');
BEGIN
  PERFORM set_config('branchline.organization_id', p_organization::text, true);
  UPDATE organization_members SET access_changed_at = clock_timestamp()
    WHERE organization_id = p_organization AND user_id = p_user AND disabled_at IS NULL;
  PERFORM set_config('branchline.organization_id', v_before, true);
END $$;
CREATE FUNCTION announce_ended_sessions() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM announce_end_of_access(organization_id, user_id) FROM (
    SELECT DISTINCT n.organization_id, n.user_id FROM new_rows n JOIN old_rows o USING (id)
    WHERE o.revoked_at IS NULL AND n.revoked_at IS NOT NULL AND n.expires_at > now() ORDER BY 1, 2) ended;
  RETURN NULL;
END $$;
CREATE TRIGGER announce_ended_sessions AFTER UPDATE ON sessions REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows
  FOR EACH STATEMENT EXECUTE FUNCTION announce_ended_sessions();

-- As somebody in psql may end them. Where the person or the organisation goes with them, their memberships say so.
CREATE FUNCTION announce_deleted_sessions() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM announce_end_of_access(organization_id, user_id) FROM (
    SELECT DISTINCT s.organization_id, s.user_id FROM old_rows s JOIN users u ON u.id = s.user_id
    JOIN organizations o ON o.id = s.organization_id
    WHERE s.revoked_at IS NULL AND s.expires_at > now() ORDER BY 1, 2) ended;
  RETURN NULL;
END $$;
CREATE TRIGGER announce_deleted_sessions AFTER DELETE ON sessions REFERENCING OLD TABLE AS old_rows
  FOR EACH STATEMENT EXECUTE FUNCTION announce_deleted_sessions();

-- Who is disabled, or no longer a member, is logged out: a person everywhere, a member there only, and all of an organisation
-- that closes.
CREATE FUNCTION end_sessions_of_person() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  UPDATE sessions SET revoked_at = now() WHERE user_id = NEW.id AND revoked_at IS NULL;
  RETURN NULL;
END $$;
CREATE TRIGGER end_sessions AFTER UPDATE ON users FOR EACH ROW
  WHEN (OLD.disabled_at IS NULL AND NEW.disabled_at IS NOT NULL) EXECUTE FUNCTION end_sessions_of_person();

-- Their organisations are told.
CREATE FUNCTION note_person() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  INSERT INTO security_events (organization_id, kind, actor_id, user_id, details)
    SELECT organization_id, CASE WHEN NEW.disabled_at IS NULL THEN 'person_enabled' ELSE 'person_disabled' END, local_setting('actor')::uuid, NEW.id,
      jsonb_build_object('disabled_at', jsonb_build_array(OLD.disabled_at, NEW.disabled_at))
    FROM organization_members WHERE user_id = NEW.id;
  RETURN NULL;
END $$;
CREATE TRIGGER note_person AFTER UPDATE ON users FOR EACH ROW
  WHEN ((OLD.disabled_at IS NULL) <> (NEW.disabled_at IS NULL)) EXECUTE FUNCTION note_person();

CREATE FUNCTION end_sessions_of_organization() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  UPDATE sessions SET revoked_at = now() WHERE organization_id = NEW.id AND revoked_at IS NULL;
  RETURN NULL;
END $$;
CREATE TRIGGER end_sessions AFTER UPDATE ON organizations FOR EACH ROW
  WHEN (OLD.closed_at IS NULL AND NEW.closed_at IS NOT NULL) EXECUTE FUNCTION end_sessions_of_organization();

-- An invitation that somebody still holds from before would let them in again.
CREATE FUNCTION end_sessions_of_member() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  UPDATE sessions SET revoked_at = now() WHERE user_id = OLD.user_id AND organization_id = OLD.organization_id AND revoked_at IS NULL;
  UPDATE invitations SET ended_at = now() WHERE organization_id = OLD.organization_id AND ended_at IS NULL
    AND email = (SELECT email FROM users WHERE id = OLD.user_id);
  RETURN NULL;
END $$;
CREATE TRIGGER end_sessions AFTER UPDATE ON organization_members FOR EACH ROW
  WHEN (OLD.disabled_at IS NULL AND NEW.disabled_at IS NOT NULL OR OLD.user_id <> NEW.user_id) EXECUTE FUNCTION end_sessions_of_member();
CREATE TRIGGER end_sessions_of_gone AFTER DELETE ON organization_members FOR EACH ROW EXECUTE FUNCTION end_sessions_of_member();

-- Through the API nobody is made a member unasked: they accept an invitation. Only an owner makes, changes or removes an owner,
-- and the last one stays. In psql everything goes.
CREATE FUNCTION guard_members() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
  v_organization uuid := CASE WHEN TG_OP = 'INSERT' THEN NEW.organization_id ELSE OLD.organization_id END;
  v_actor uuid := CASE WHEN TG_OP = 'DELETE' THEN local_setting('actor')::uuid ELSE NEW.updated_by END;
  v_was boolean := CASE WHEN TG_OP = 'INSERT' THEN false ELSE OLD.role = 'owner' END;
  v_is boolean := CASE WHEN TG_OP = 'DELETE' THEN false ELSE NEW.role = 'owner' END;
BEGIN
  IF local_setting('written') IS NOT NULL AND (TG_OP = 'INSERT' OR TG_OP = 'UPDATE' AND NEW.user_id <> OLD.user_id) THEN
    RAISE EXCEPTION 'by_invitation: somebody becomes a member by accepting an invitation' USING ERRCODE = '42501';
  END IF;
  IF local_setting('written') IS NOT NULL AND (v_was OR v_is) THEN
    PERFORM pg_advisory_xact_lock(hashtextextended('owners ' || v_organization, 0));
    IF NOT EXISTS (SELECT FROM organization_members WHERE organization_id = v_organization AND user_id = v_actor
        AND role = 'owner' AND disabled_at IS NULL) THEN
      RAISE EXCEPTION 'owners_only: an owner''s membership is an owner''s to change' USING ERRCODE = '42501';
    END IF;
    IF v_was AND (NOT v_is OR NEW.disabled_at IS NOT NULL) AND NOT EXISTS (SELECT FROM organization_members
        WHERE organization_id = v_organization AND role = 'owner' AND disabled_at IS NULL AND id <> OLD.id) THEN
      RAISE EXCEPTION 'last_owner: an organisation has an owner' USING ERRCODE = '42501';
    END IF;
  END IF;
  RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER guard_members BEFORE INSERT OR UPDATE OR DELETE ON organization_members FOR EACH ROW EXECUTE FUNCTION guard_members();

-- Whoever changes rights, in psql too, is in the audit log: each right as it was and as it is.
CREATE FUNCTION note_rights() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
  v_old jsonb := CASE WHEN TG_OP = 'INSERT' THEN '{}' ELSE to_jsonb(OLD) END;
  v_new jsonb := CASE WHEN TG_OP = 'DELETE' THEN '{}' ELSE to_jsonb(NEW) END;
  v_rights jsonb := (SELECT jsonb_object_agg(r, jsonb_build_array(v_old -> r, v_new -> r))
    FROM unnest(ARRAY['user_id', 'role', 'reads', 'branch_ids', 'disabled_at']) r WHERE v_old -> r IS DISTINCT FROM v_new -> r);
BEGIN
  -- An organisation that is erased takes its log with it.
  INSERT INTO security_events (organization_id, kind, actor_id, user_id, details)
    SELECT o.id, CASE TG_OP WHEN 'INSERT' THEN 'member_added' WHEN 'DELETE' THEN 'member_removed' ELSE 'member_changed' END,
      CASE TG_OP WHEN 'DELETE' THEN local_setting('actor') ELSE v_new ->> 'updated_by' END::uuid,
      coalesce(v_new ->> 'user_id', v_old ->> 'user_id')::uuid, v_rights
    FROM organizations o WHERE o.id = coalesce(v_new ->> 'organization_id', v_old ->> 'organization_id')::uuid AND v_rights IS NOT NULL;
  RETURN NULL;
END $$;
CREATE TRIGGER note_rights AFTER INSERT OR UPDATE OR DELETE ON organization_members FOR EACH ROW EXECUTE FUNCTION note_rights();

-- 3 the CRM -------------------------------------------------------------------------------------------------------
-- organization_id comes first in every key and foreign key, so a reference cannot leave its organisation (people are referred to
-- as its members), and the data can be distributed by it. track() adds the system columns: version, created_at, updated_at, updated_by, …

CREATE TABLE clients (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  id uuid NOT NULL DEFAULT uuidv7(),
  branch_id uuid,
  name varchar(200) NOT NULL CHECK (name <> ''),
  status client_status NOT NULL DEFAULT 'prospect',
  industry varchar(120),
  website varchar(400),
  phone varchar(60),
  email varchar(254),
  address varchar(400),
  city varchar(120),
  country varchar(2) CHECK (country ~ '^[A-Z]{2}$'),
  owner_id uuid,
  notes varchar(20000),
  PRIMARY KEY (organization_id, id),
  FOREIGN KEY (organization_id, branch_id) REFERENCES branches ON DELETE SET NULL (branch_id),
  FOREIGN KEY (organization_id, owner_id) REFERENCES organization_members (organization_id, user_id) ON DELETE SET NULL (owner_id)
);
CREATE INDEX clients_by_branch ON clients (organization_id, branch_id);
CREATE INDEX clients_by_status ON clients (organization_id, status);
COMMENT ON TABLE clients IS 'Companies that the organisation serves. @history';
COMMENT ON COLUMN clients.branch_id IS 'The branch it belongs to; null for the whole organisation. @filterable';
COMMENT ON COLUMN clients.status IS '@filterable';
COMMENT ON COLUMN clients.owner_id IS 'The person who looks after it. @filterable';

CREATE TABLE leads (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  id uuid NOT NULL DEFAULT uuidv7(),
  branch_id uuid,
  name varchar(200) NOT NULL CHECK (name <> ''),
  company varchar(200),
  email varchar(254),
  phone varchar(60),
  source lead_source NOT NULL DEFAULT 'website',
  status lead_status NOT NULL DEFAULT 'new',
  score integer CHECK (score BETWEEN 0 AND 100),
  estimated_value numeric(14, 2) CHECK (estimated_value >= 0),
  currency varchar(3) NOT NULL DEFAULT 'EUR' CHECK (currency ~ '^[A-Z]{3}$'),
  owner_id uuid,
  client_id uuid,
  next_step_at timestamptz,
  notes varchar(20000),
  PRIMARY KEY (organization_id, id),
  FOREIGN KEY (organization_id, branch_id) REFERENCES branches ON DELETE SET NULL (branch_id),
  FOREIGN KEY (organization_id, owner_id) REFERENCES organization_members (organization_id, user_id) ON DELETE SET NULL (owner_id),
  FOREIGN KEY (organization_id, client_id) REFERENCES clients ON DELETE SET NULL (client_id)
);
CREATE INDEX leads_by_branch ON leads (organization_id, branch_id, status);
CREATE INDEX leads_by_status ON leads (organization_id, status);
CREATE INDEX leads_by_client ON leads (organization_id, client_id);
COMMENT ON TABLE leads IS 'People and companies that may become clients. @history';
COMMENT ON COLUMN leads.branch_id IS 'The branch it belongs to; null for the whole organisation. @filterable';
COMMENT ON COLUMN leads.status IS '@filterable';
COMMENT ON COLUMN leads.source IS '@filterable';
COMMENT ON COLUMN leads.owner_id IS 'The person who looks after it. @filterable';
COMMENT ON COLUMN leads.client_id IS 'The client that it became. @filterable';

CREATE TABLE contacts (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  id uuid NOT NULL DEFAULT uuidv7(),
  branch_id uuid,
  client_id uuid,
  first_name varchar(120),
  last_name varchar(120) NOT NULL CHECK (last_name <> ''),
  email varchar(254),
  phone varchar(60),
  title varchar(120),
  is_primary boolean NOT NULL DEFAULT false,
  birthday date,
  notes varchar(20000),
  PRIMARY KEY (organization_id, id),
  FOREIGN KEY (organization_id, branch_id) REFERENCES branches ON DELETE SET NULL (branch_id),
  FOREIGN KEY (organization_id, client_id) REFERENCES clients ON DELETE CASCADE
);
CREATE INDEX contacts_by_branch ON contacts (organization_id, branch_id);
CREATE INDEX contacts_by_client ON contacts (organization_id, client_id);
COMMENT ON TABLE contacts IS 'People at clients. They go when their client goes. @history';
ALTER TABLE client_portal_access ADD FOREIGN KEY (organization_id, contact_id) REFERENCES contacts ON DELETE CASCADE;
COMMENT ON COLUMN contacts.branch_id IS 'The branch it belongs to; null for the whole organisation. @filterable';
COMMENT ON COLUMN contacts.client_id IS '@filterable';
COMMENT ON COLUMN contacts.is_primary IS 'The person to call first. @filterable';

CREATE TABLE deals (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  id uuid NOT NULL DEFAULT uuidv7(),
  branch_id uuid,
  name varchar(200) NOT NULL CHECK (name <> ''),
  stage deal_stage NOT NULL DEFAULT 'qualification',
  amount numeric(14, 2) CHECK (amount >= 0),
  currency varchar(3) NOT NULL DEFAULT 'EUR' CHECK (currency ~ '^[A-Z]{3}$'),
  probability integer CHECK (probability BETWEEN 0 AND 100),
  expected_close_on date,
  closed_at timestamptz,
  owner_id uuid,
  client_id uuid,
  contact_id uuid,
  lead_id uuid,
  notes varchar(20000),
  PRIMARY KEY (organization_id, id),
  FOREIGN KEY (organization_id, branch_id) REFERENCES branches ON DELETE SET NULL (branch_id),
  FOREIGN KEY (organization_id, owner_id) REFERENCES organization_members (organization_id, user_id) ON DELETE SET NULL (owner_id),
  FOREIGN KEY (organization_id, client_id) REFERENCES clients ON DELETE SET NULL (client_id),
  FOREIGN KEY (organization_id, contact_id) REFERENCES contacts ON DELETE SET NULL (contact_id),
  FOREIGN KEY (organization_id, lead_id) REFERENCES leads ON DELETE SET NULL (lead_id)
);
CREATE INDEX deals_by_branch ON deals (organization_id, branch_id, stage);
CREATE INDEX deals_by_stage ON deals (organization_id, stage);
CREATE INDEX deals_by_client ON deals (organization_id, client_id);
CREATE INDEX deals_by_contact ON deals (organization_id, contact_id);
CREATE INDEX deals_by_lead ON deals (organization_id, lead_id);
COMMENT ON TABLE deals IS 'What may be sold to whom, by stage. @history';
COMMENT ON COLUMN deals.branch_id IS 'The branch it belongs to; null for the whole organisation. @filterable';
COMMENT ON COLUMN deals.stage IS '@filterable';
COMMENT ON COLUMN deals.amount IS 'What it is worth. @critical';
COMMENT ON COLUMN deals.owner_id IS 'The person who looks after it. @filterable';
COMMENT ON COLUMN deals.client_id IS '@filterable';
COMMENT ON COLUMN deals.contact_id IS '@filterable';
COMMENT ON COLUMN deals.lead_id IS '@filterable';

CREATE TABLE tasks (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  id uuid NOT NULL DEFAULT uuidv7(),
  branch_id uuid,
  title varchar(200) NOT NULL CHECK (title <> ''),
  description varchar(20000),
  status task_status NOT NULL DEFAULT 'open',
  priority task_priority NOT NULL DEFAULT 'normal',
  due_on date,
  completed_at timestamptz,
  assignee_id uuid,
  client_id uuid,
  deal_id uuid,
  lead_id uuid,
  notes varchar(20000),
  PRIMARY KEY (organization_id, id),
  FOREIGN KEY (organization_id, branch_id) REFERENCES branches ON DELETE SET NULL (branch_id),
  FOREIGN KEY (organization_id, assignee_id) REFERENCES organization_members (organization_id, user_id) ON DELETE SET NULL (assignee_id),
  FOREIGN KEY (organization_id, client_id) REFERENCES clients ON DELETE SET NULL (client_id),
  FOREIGN KEY (organization_id, deal_id) REFERENCES deals ON DELETE SET NULL (deal_id),
  FOREIGN KEY (organization_id, lead_id) REFERENCES leads ON DELETE SET NULL (lead_id)
);
CREATE INDEX tasks_by_branch ON tasks (organization_id, branch_id, status);
CREATE INDEX tasks_by_status ON tasks (organization_id, status, due_on);
CREATE INDEX tasks_by_assignee ON tasks (organization_id, assignee_id, status);
CREATE INDEX tasks_by_client ON tasks (organization_id, client_id);
CREATE INDEX tasks_by_deal ON tasks (organization_id, deal_id);
CREATE INDEX tasks_by_lead ON tasks (organization_id, lead_id);
COMMENT ON TABLE tasks IS 'Things to do. @history';
COMMENT ON COLUMN tasks.branch_id IS 'The branch it belongs to; null for the whole organisation. @filterable';
COMMENT ON COLUMN tasks.status IS '@filterable';
COMMENT ON COLUMN tasks.priority IS '@filterable';
COMMENT ON COLUMN tasks.due_on IS '@filterable';
COMMENT ON COLUMN tasks.assignee_id IS 'The person who does it. @filterable';
COMMENT ON COLUMN tasks.client_id IS '@filterable';
COMMENT ON COLUMN tasks.deal_id IS '@filterable';
COMMENT ON COLUMN tasks.lead_id IS '@filterable';

-- Ids are UUIDs of version 7, whose first 48 bits are the time: a range of ids is a month. So the key needs no second
-- column, and what an id names stays unique over all months. Other ids go to the default partition.
CREATE TABLE activity_events (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  id uuid NOT NULL DEFAULT uuidv7(),
  branch_id uuid,
  kind activity_kind NOT NULL DEFAULT 'note',
  subject varchar(300) NOT NULL CHECK (subject <> ''),
  body varchar(20000),
  occurred_at timestamptz NOT NULL DEFAULT now(),
  user_id uuid,
  client_id uuid,
  contact_id uuid,
  deal_id uuid,
  lead_id uuid,
  notes varchar(20000),
  PRIMARY KEY (organization_id, id),
  FOREIGN KEY (organization_id, branch_id) REFERENCES branches ON DELETE SET NULL (branch_id),
  FOREIGN KEY (organization_id, user_id) REFERENCES organization_members (organization_id, user_id) ON DELETE SET NULL (user_id),
  FOREIGN KEY (organization_id, client_id) REFERENCES clients ON DELETE CASCADE,
  FOREIGN KEY (organization_id, contact_id) REFERENCES contacts ON DELETE SET NULL (contact_id),
  FOREIGN KEY (organization_id, deal_id) REFERENCES deals ON DELETE SET NULL (deal_id),
  FOREIGN KEY (organization_id, lead_id) REFERENCES leads ON DELETE SET NULL (lead_id)
) PARTITION BY RANGE (id);
CREATE TABLE activity_events_other PARTITION OF activity_events DEFAULT;
CREATE INDEX activity_events_by_branch ON activity_events (organization_id, branch_id);
CREATE INDEX activity_events_by_client ON activity_events (organization_id, client_id, occurred_at);
CREATE INDEX activity_events_by_contact ON activity_events (organization_id, contact_id);
CREATE INDEX activity_events_by_deal ON activity_events (organization_id, deal_id);
CREATE INDEX activity_events_by_lead ON activity_events (organization_id, lead_id);
COMMENT ON TABLE activity_events IS 'Calls, e-mails, meetings and what else happened.';
COMMENT ON COLUMN activity_events.branch_id IS 'The branch it belongs to; null for the whole organisation. @filterable';
COMMENT ON COLUMN activity_events.kind IS '@filterable';
COMMENT ON COLUMN activity_events.user_id IS 'The person who did it. @filterable';
COMMENT ON COLUMN activity_events.client_id IS '@filterable';
COMMENT ON COLUMN activity_events.contact_id IS '@filterable';
COMMENT ON COLUMN activity_events.deal_id IS '@filterable';
COMMENT ON COLUMN activity_events.lead_id IS '@filterable';

-- 4 the log -------------------------------------------------------------------------------------------------------

-- One row a change, appended by the statement that made it, under its transaction's id. The offset is not here: it is
-- given at commit, in `commits`, so that offsets are visible in their order (I1) and an open transaction holds nobody up.
-- offset = commits.first_offset + changes.ordinal - 1.
CREATE TABLE changes (
  organization_id uuid NOT NULL,
  transaction_id xid8 NOT NULL,
  ordinal integer NOT NULL,
  logged_on date NOT NULL,
  collection text NOT NULL,
  record_id uuid NOT NULL,
  operation change_operation NOT NULL,
  version bigint NOT NULL,
  record json NOT NULL,
  changed text[] NOT NULL DEFAULT '{}',
  previous json NOT NULL DEFAULT '{}',
  clock text COLLATE "C" NOT NULL,
  actor_id uuid,
  mutation_id uuid,
  unit text NOT NULL,
  overwrote json,
  PRIMARY KEY (organization_id, transaction_id, ordinal, logged_on)
) PARTITION BY RANGE (logged_on);
-- Statistics of a day's partition are of its first minutes for long: what is read must be cheap by any. So this index does not begin
-- with the organisation, or it would look as good as the key for a page of the log, and each transaction of it would be looked for
-- in the organisation's whole day. And no statistics say that an organisation has no rows, or the key would look as good for a history.
CREATE INDEX changes_by_record ON changes (record_id, version);
ALTER TABLE changes ALTER COLUMN organization_id SET STATISTICS 0;
COMMENT ON TABLE changes IS 'The change log, a partition a day. record: the whole record after the change, before it for a delete.';

-- Days of the log that are past its retention are moved here whole, as partitions: the same rows, without offsets.
CREATE TABLE history (LIKE changes INCLUDING DEFAULTS, PRIMARY KEY (organization_id, transaction_id, ordinal, logged_on))
  PARTITION BY RANGE (logged_on);
CREATE INDEX history_by_record ON history (record_id, version);
COMMENT ON TABLE history IS 'Versions of records that outlived the log.';

CREATE TABLE commits (
  transaction_id xid8 NOT NULL,
  organization_id uuid NOT NULL,
  size integer NOT NULL,
  first_offset bigint,
  numbered_at timestamptz,
  logged_on date NOT NULL,
  PRIMARY KEY (transaction_id, organization_id)
) WITH (fillfactor = 70);
-- Partial: entries of open transactions would pile up before the newest one and slow every commit behind them.
CREATE UNIQUE INDEX commits_in_order ON commits (organization_id, first_offset) WHERE first_offset IS NOT NULL;
COMMENT ON TABLE commits IS 'Which offsets of an organisation a transaction has. numbered_at: just before its commit.';

CREATE TABLE tombstones (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  collection text NOT NULL,
  record_id uuid NOT NULL,
  version bigint NOT NULL,
  clock text COLLATE "C" NOT NULL,
  field_clocks jsonb NOT NULL,
  record json NOT NULL,
  deleted_by uuid,
  deleted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (organization_id, collection, record_id)
);
COMMENT ON TABLE tombstones IS 'Deleted records, with the version and the clocks from which a later insert goes on.';

CREATE FUNCTION forget_sealed() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  DELETE FROM sealed_values s WHERE s.organization_id = OLD.organization_id AND s.client_id = OLD.record_id
    AND NOT EXISTS (SELECT FROM clients c WHERE c.organization_id = OLD.organization_id AND c.id = OLD.record_id);
  RETURN NULL;
END $$;
CREATE TRIGGER forget_sealed AFTER DELETE ON tombstones FOR EACH ROW WHEN (OLD.collection = 'clients') EXECUTE FUNCTION forget_sealed();

-- The first answer to each mutation, kept for 90 days (I6).
CREATE TABLE mutations (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  user_id uuid NOT NULL,
  mutation_id uuid NOT NULL,
  collection text NOT NULL,
  record_id uuid NOT NULL,
  fingerprint text NOT NULL,
  answer jsonb NOT NULL,
  answered_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (organization_id, user_id, mutation_id)
);
CREATE INDEX mutations_by_age ON mutations USING brin (answered_at);

-- Values that somebody typed and a concurrent write replaced, kept for their author until seen (I9).
CREATE TABLE overwritten_values (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  id uuid NOT NULL DEFAULT uuidv7(),
  collection text NOT NULL,
  record_id uuid NOT NULL,
  field text NOT NULL,
  value jsonb NOT NULL,
  written_at_ms bigint NOT NULL,
  overwritten_by uuid,
  overwritten_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  version bigint NOT NULL,
  PRIMARY KEY (organization_id, user_id, id)
);
COMMENT ON TABLE overwritten_values IS 'version: the one that replaced the value; the delete, if the record was deleted.';

CREATE TABLE epochs (
  ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  reason text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO epochs (reason) VALUES ('created');

-- The epoch of every position: it changes by itself with a restore (another system, database or stored id) and with a
-- promotion (another timeline). Shape: <uuid>.<timeline, 8 hex>.<system identifier>.<database oid>
CREATE FUNCTION epoch() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT format('%s.%s.%s.%s',
    (SELECT id FROM public.epochs ORDER BY ordinal DESC LIMIT 1),
    left(pg_walfile_name(pg_current_wal_lsn()), 8),
    (SELECT system_identifier FROM pg_control_system()),
    (SELECT oid FROM pg_database WHERE datname = current_database()))
$$;

CREATE FUNCTION renew_epoch(p_reason text) RETURNS text LANGUAGE sql VOLATILE AS $$
  INSERT INTO public.epochs (reason) VALUES (p_reason);
  SELECT public.epoch();
$$;

CREATE TABLE relay_leases (
  shard integer PRIMARY KEY,
  holder uuid NOT NULL,
  term bigint NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE TABLE relay_positions (
  shard integer NOT NULL,
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  epoch text NOT NULL,
  published_offset bigint NOT NULL,
  term bigint NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (shard, organization_id)
) WITH (fillfactor = 50);

-- 5 clocks --------------------------------------------------------------------------------------------------------
-- The hybrid logical clock of Kulkarni et al., "Logical Physical Clocks" (2014), as a string that sorts:
-- <unix ms, 13 digits>-<counter, 4 hex>-<client id>. core/clock.py is its twin; both read tests/vectors/clock.json.

CREATE FUNCTION now_ms() RETURNS bigint LANGUAGE sql VOLATILE AS
  $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

-- A stamp by the server: greater than the stored clock and not below the server's time.
CREATE FUNCTION next_clock(p_stored text, p_now_ms bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE
    WHEN p_stored IS NULL OR left(p_stored, 13)::bigint < p_now_ms THEN lpad(p_now_ms::text, 13, '0') || '-0000'
    WHEN substr(p_stored, 15, 4) = 'ffff' THEN lpad((left(p_stored, 13)::bigint + 1)::text, 13, '0') || '-0000'
    ELSE left(p_stored, 13) || '-' || lpad(to_hex(('x' || lpad(substr(p_stored, 15, 4), 8, '0'))::bit(32)::int + 1), 4, '0')
  END || '-00000000-0000-0000-0000-000000000000'
$$;

-- A client's clock, moved past the equal ones that a record already holds: requests are under way for differently long, and
-- what that makes of two clocks of one client may be the same. They are two writes all the same, the second the later.
-- In PL/pgSQL, because it is called for each row and seldom runs a query: 12 µs in place of 31.
CREATE FUNCTION distinct_clock(p_clocks jsonb, p_clock text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF coalesce(strpos(p_clocks::text, p_clock), 0) = 0 THEN RETURN p_clock; END IF;
  RETURN (SELECT left(next_clock(max((value ->> 0) COLLATE "C"), 0), 19) || right(p_clock, 36) FROM jsonb_each(p_clocks)
    WHERE left(value ->> 0, 13) = left(p_clock, 13) AND right(value ->> 0, 36) = right(p_clock, 36));
END $$;

-- field_clocks is {field: [clock, version, author]}; the field "*" stands for all that have no entry of their own.
CREATE FUNCTION latest_clock(p_clocks jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS
  $$ SELECT max((value ->> 0) COLLATE "C") FROM jsonb_each(p_clocks) $$;

CREATE FUNCTION stamp_fields(p_clocks jsonb, p_fields text[], p_clock text, p_version bigint, p_author uuid)
RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT p_clocks || coalesce(jsonb_object_agg(f, jsonb_build_array(p_clock, p_version, p_author)), '{}') FROM unnest(p_fields) f
$$;

-- Merges one mutation's fields into a record, each field for itself: the greater clock wins, an equal one is the same
-- write. `lost` lists fields beaten by a later write of another value; `overwrote` lists values that this write replaces
-- though their authors wrote them at a version that this writer had not seen. Always one row; as a set it is inlined.
CREATE FUNCTION merge_fields(
  p_record jsonb, p_clocks jsonb, p_fields jsonb, p_clock text, p_base_version bigint, p_author uuid, p_version bigint
) RETURNS SETOF field_merge LANGUAGE sql IMMUTABLE ROWS 1 AS $$
  SELECT
    coalesce(jsonb_object_agg(f.key, f.value) FILTER (WHERE won), '{}'),
    jsonb_agg(jsonb_build_object('field', f.key, 'mine', f.value, 'theirs', p_record -> f.key,
      'by', stored ->> 2, 'at_ms', left(stored ->> 0, 13)::bigint) ORDER BY f.key)
      FILTER (WHERE NOT won AND stored ->> 0 <> p_clock AND f.value IS DISTINCT FROM p_record -> f.key),
    jsonb_agg(jsonb_build_object('field', f.key, 'value', p_record -> f.key,
      'by', stored ->> 2, 'at_ms', left(stored ->> 0, 13)::bigint) ORDER BY f.key)
      FILTER (WHERE won AND (stored ->> 1)::bigint > p_base_version AND stored ->> 2 IS DISTINCT FROM p_author::text
        AND p_record ? f.key AND f.value IS DISTINCT FROM p_record -> f.key),
    p_clocks || coalesce(jsonb_object_agg(f.key, jsonb_build_array(p_clock, p_version, p_author)) FILTER (WHERE won), '{}')
  FROM jsonb_each(p_fields) f
  CROSS JOIN LATERAL (SELECT coalesce(p_clocks -> f.key, p_clocks -> '*') AS stored) s
  CROSS JOIN LATERAL (SELECT stored IS NULL OR p_clock COLLATE "C" > (stored ->> 0) COLLATE "C" AS won) w
$$;

-- A record without what the system keeps in it.
CREATE FUNCTION business_fields(p_record jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
  $$ SELECT p_record - '{id,organization_id,version,created_at,updated_at,updated_by}'::text[] $$;

-- The members of an object that have these names, or else the one of the name "*".
CREATE FUNCTION members_of(p_object jsonb, p_names text[]) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT coalesce(jsonb_object_agg(name, coalesce(p_object -> name, p_object -> '*')), '{}') FROM unnest(p_names) name WHERE p_object ?| ARRAY[name, '*']
$$;

-- What a delete takes with it that its writer had not seen, as `overwrote` of merge_fields; of an insert what has a value.
CREATE FUNCTION overwrote_by_delete(p_record jsonb, p_clocks jsonb, p_base_version bigint, p_author uuid) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT jsonb_agg(jsonb_build_object('field', r.key, 'value', r.value, 'by', stamp ->> 2, 'at_ms', left(stamp ->> 0, 13)::bigint) ORDER BY r.key)
  FROM jsonb_each(business_fields(p_record)) r CROSS JOIN LATERAL (SELECT coalesce(p_clocks -> r.key, p_clocks -> '*') AS stamp) s
  WHERE (stamp ->> 1)::bigint > p_base_version AND stamp ->> 2 IS DISTINCT FROM p_author::text AND (p_clocks ? r.key OR r.value <> 'null')
$$;

CREATE FUNCTION keep_overwritten(p_collection text, p_record uuid, p_overwrote jsonb, p_by uuid, p_version bigint) RETURNS void LANGUAGE sql AS $$
  INSERT INTO public.overwritten_values (organization_id, user_id, collection, record_id, field, value, written_at_ms, overwritten_by, version)
  SELECT public.current_organization(), u.id, p_collection, p_record, o ->> 'field', o -> 'value', (o ->> 'at_ms')::bigint, p_by, p_version
  FROM jsonb_array_elements(p_overwrote) o JOIN public.users u ON u.id = (o ->> 'by')::uuid
$$;

-- 6 tracking ------------------------------------------------------------------------------------------------------
-- What the triggers of a transaction must know and a row cannot carry is in settings local to it:
--   branchline.organization_id   whose rows may be seen (row-level security)
--   branchline.actor             who writes, where the row does not say it: deletes, cascades, psql
--   branchline.mutation, .clock, .record  of a delete: the record is the one that was asked for, not a cascade's
--   branchline.unit              the writer's unit, for rows without a mutation
--   branchline.annotations       {mutation id: {unit, overwrote}}
--   branchline.wakes             off: the writer sends its own wake-up after the commit
--   branchline.written           the transaction in which write_mutations runs
-- And of the session: branchline.mutations, how many it has written; branchline.suspect, a foreign key by which somebody has
-- just referred to nothing, and up to how many mutations that is minded.

CREATE FUNCTION local_setting(p_name text) RETURNS text LANGUAGE sql STABLE AS
  $$ SELECT nullif(current_setting('branchline.' || p_name, true), '') $$;
CREATE FUNCTION current_organization() RETURNS uuid LANGUAGE sql STABLE AS
  $$ SELECT nullif(current_setting('branchline.organization_id', true), '')::uuid $$;

-- Code that track() generates; never edited by hand.
CREATE SCHEMA generated;

CREATE TABLE tracked_tables (
  table_oid oid PRIMARY KEY,
  collection text NOT NULL UNIQUE,
  tracked_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION comment_tag(p_comment text, p_tag text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN m IS NULL THEN NULL ELSE coalesce(regexp_split_to_array(nullif(trim(m[2]), ''), '\s*,\s*'), '{}') END
  FROM (SELECT regexp_match(p_comment, '@' || p_tag || '\y(\(([^)]*)\))?') AS m) x
$$;

-- The columns of a table as the generators need them. `encoding` is a format string for the value in a record, its
-- argument the row's alias: timestamps in UTC with six digits, numeric as text, whatever the session's settings. Infinite
-- timestamps (to_char gives null for them) and the blanks that fill up a char(n) are not lost or made up.
CREATE FUNCTION table_columns(p_table regclass) RETURNS TABLE (
  name text, type_name text, encoding text, comparable text, is_system boolean, is_writable boolean, is_sensitive boolean,
  readable_by text[], default_expression text, needs_settings boolean, ordinal integer
) LANGUAGE sql STABLE AS $$
  SELECT a.attname::text, format_type(a.atttypid, a.atttypmod),
    CASE WHEN t.typbasetype_or_self = 'timestamptz'::regtype THEN format('coalesce(to_char(%1$s AT TIME ZONE ''UTC'', ''YYYY-MM-DD"T"HH24:MI:SS.US"Z"''), %1$s::text)', v.value)
         WHEN t.typbasetype_or_self = 'timestamp'::regtype THEN format('coalesce(to_char(%1$s, ''YYYY-MM-DD"T"HH24:MI:SS.US"Z"''), %1$s::text)', v.value)
         WHEN t.typbasetype_or_self IN ('numeric'::regtype, 'bpchar'::regtype) THEN v.value || '::text'
         WHEN t.typbasetype_or_self = 'numeric[]'::regtype THEN v.value || '::text[]'
         ELSE v.value END,
    -- json, xml and the like have no equality; their text has. Of some types equal values are written differently (1.5 and
    -- 1.50): what differs in a record is a change.
    CASE WHEN (t.typbasetype_or_self = 'numeric'::regtype AND a.atttypmod = -1) OR t.name = 'citext' OR t.typbasetype_or_self IN
           ('jsonb'::regtype, 'interval'::regtype, 'timetz'::regtype, 'numeric[]'::regtype, 'jsonb[]'::regtype, 'interval[]'::regtype)
         THEN v.value || '::text COLLATE "C"'
         WHEN EXISTS (SELECT FROM pg_operator o WHERE o.oprname = '=' AND o.oprcanhash AND o.oprleft = t.typbasetype_or_self)
           OR t.typtype = 'e' OR t.typcategory = 'A'
         THEN v.value ELSE v.value || '::text' END,
    a.attname IN ('organization_id', 'id', 'version', 'created_at', 'updated_at', 'updated_by', 'last_mutation_id', 'field_clocks'),
    a.attgenerated = '' AND a.attidentity <> 'a'
      AND a.attname NOT IN ('organization_id', 'id', 'version', 'created_at', 'updated_at', 'updated_by', 'last_mutation_id', 'field_clocks'),
    comment_tag(col_description(a.attrelid, a.attnum), 'sensitive') IS NOT NULL,
    comment_tag(col_description(a.attrelid, a.attnum), 'readable'),
    CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
    a.atttypid NOT IN ('uuid'::regtype, 'text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'int2'::regtype, 'int4'::regtype,
      'int8'::regtype, 'numeric'::regtype, 'bool'::regtype, 'date'::regtype, 'timestamptz'::regtype, 'timestamp'::regtype,
      'json'::regtype, 'jsonb'::regtype, 'uuid[]'::regtype, 'text[]'::regtype, 'varchar[]'::regtype) AND t.typtype <> 'e',
    -- In a record: its keys first, then its fields, what the system keeps last.
    CASE a.attname WHEN 'id' THEN 1 WHEN 'organization_id' THEN 2 WHEN 'branch_id' THEN 3
      WHEN 'version' THEN 10001 WHEN 'created_at' THEN 10002 WHEN 'updated_at' THEN 10003 WHEN 'updated_by' THEN 10004
      ELSE 3 + a.attnum END
  FROM pg_attribute a
  JOIN (SELECT oid, typname AS name, typtype, typcategory, CASE WHEN typtype = 'd' THEN typbasetype ELSE oid END AS typbasetype_or_self FROM pg_type) t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  -- What triggers see of a virtual column is null: its expression is used in its place.
  CROSS JOIN LATERAL (SELECT CASE WHEN a.attgenerated = 'v'
    THEN format('(SELECT (%s)::%s FROM (SELECT %%1$s.*) v)', replace(pg_get_expr(d.adbin, d.adrelid), '%', '%%'), format_type(a.atttypid, a.atttypmod))
    ELSE format('%%1$s.%I', a.attname) END AS value) v
  WHERE a.attrelid = p_table AND a.attnum > 0 AND NOT a.attisdropped
$$;

-- The expression that makes a record of the row `p_alias`: the one encoding, used by encode_record and by the captures.
CREATE FUNCTION encoding_of(p_table regclass, p_alias text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT format('(SELECT row_to_json(x.*) FROM (SELECT %s) x)',
    string_agg(format(encoding, p_alias) || format(' AS %I', name), ', ' ORDER BY ordinal))
  FROM table_columns(p_table)
  WHERE NOT is_sensitive AND name NOT IN ('last_mutation_id', 'field_clocks')
$$;

CREATE FUNCTION changed_of(p_table regclass, p_new text, p_old text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT format('array_remove(ARRAY[%s]::text[], NULL)', string_agg(
    format('CASE WHEN %s IS DISTINCT FROM %s THEN %L END', format(comparable, p_new), format(comparable, p_old), name), ', ' ORDER BY ordinal))
  FROM table_columns(p_table) WHERE NOT is_system AND NOT is_sensitive
$$;

-- JSON text of the previous values of the changed fields. Put together as text: eight times as fast as an aggregate.
CREATE FUNCTION previous_of(p_table regclass, p_new text, p_old text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT format('(''{'' || concat_ws('','', %s) || ''}'')::json', coalesce(string_agg(
    format('CASE WHEN %s IS DISTINCT FROM %s THEN %L || coalesce(to_json(%s)::text, ''null'') END',
      format(comparable, p_new), format(comparable, p_old), to_json(name)::text || ':', format(encoding, p_old)), ', ' ORDER BY ordinal), 'NULL'))
  FROM table_columns(p_table) WHERE NOT is_system AND NOT is_sensitive
$$;

-- Settings under which the generated functions give the same bytes in every session.
CREATE FUNCTION settings_of(p_table regclass) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT 'SET search_path = public, pg_temp' || CASE WHEN bool_or(needs_settings)
    THEN ' SET "TimeZone" = ''UTC'' SET "IntervalStyle" = ''iso_8601'' SET extra_float_digits = 1 SET bytea_output = ''hex''' ELSE '' END
  FROM table_columns(p_table)
$$;

CREATE FUNCTION generate_encoding(p_table regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE OR REPLACE FUNCTION public.encode_record(r %s) RETURNS json LANGUAGE sql STABLE %s AS %L',
    p_table, CASE WHEN settings_of(p_table) LIKE '%TimeZone%' THEN settings_of(p_table) ELSE '' END,
    'SELECT ' || encoding_of(p_table, 'r'));
END $$;

-- Before a row is written: version, times, and the clocks of what changed. A write that comes through write_mutations
-- brings its id and its clocks (one of the two is new, even if the id is one that somebody else used); every other one is
-- stamped by the server.
CREATE FUNCTION generate_stamping(p_table regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE v_name text := (SELECT collection FROM tracked_tables WHERE table_oid = p_table);
BEGIN
  EXECUTE format('CREATE OR REPLACE FUNCTION generated.%I() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS %L',
    v_name || '_stamp', format($body$
DECLARE v_version bigint; v_clock text;
BEGIN
  IF TG_OP = 'INSERT' THEN
    -- If the id is being deleted at this moment, wait until it is known; its tombstone is where the version goes on.
    -- The write function has waited already, for all of its records at once.
    IF local_setting('written') IS NULL THEN
      PERFORM FROM %3$s t WHERE t.organization_id = NEW.organization_id AND t.id = NEW.id FOR KEY SHARE;
    END IF;
    SELECT t.version, t.clock INTO v_version, v_clock FROM tombstones t
      WHERE t.organization_id = NEW.organization_id AND t.collection = %1$L AND t.record_id = NEW.id FOR UPDATE;
    -- The tombstone goes when the row is there: an upsert may yet do without it.
    IF FOUND THEN PERFORM set_config('branchline.revives', 'on', true); END IF;
    NEW.version := coalesce(v_version, 0) + 1;
    NEW.created_at := coalesce(NEW.created_at, clock_timestamp());
    NEW.updated_at := clock_timestamp();
    IF NEW.last_mutation_id IS NULL THEN
      NEW.updated_by := coalesce(NEW.updated_by, local_setting('actor')::uuid);
      NEW.field_clocks := jsonb_build_object('*', jsonb_build_array(next_clock(v_clock, now_ms()), NEW.version, NEW.updated_by));
    END IF;
    RETURN NEW;
  END IF;
  IF NEW.id <> OLD.id OR NEW.organization_id <> OLD.organization_id THEN
    RAISE EXCEPTION 'record_moved: id and organization_id of a record in %1$s cannot change'
      USING ERRCODE = 'BL002', HINT = 'Delete the record and insert another.';
  END IF;
  NEW.version := OLD.version + 1;
  NEW.created_at := OLD.created_at;
  NEW.updated_at := clock_timestamp();
  IF NEW.last_mutation_id IS NOT DISTINCT FROM OLD.last_mutation_id AND NEW.field_clocks = OLD.field_clocks THEN
    NEW.last_mutation_id := NULL;
    IF NEW.updated_by IS NOT DISTINCT FROM OLD.updated_by THEN NEW.updated_by := local_setting('actor')::uuid; END IF;
    NEW.field_clocks := stamp_fields(OLD.field_clocks, %2$s,
      next_clock(latest_clock(OLD.field_clocks), now_ms()), NEW.version, NEW.updated_by);
  END IF;
  RETURN NEW;
END $body$, v_name, changed_of(p_table, 'NEW', 'OLD'), p_table));
END $$;

-- Puts the changes of each of these records in this transaction into the order of their versions.
CREATE FUNCTION order_versions(p_collection text, p_ids uuid[], p_day date) RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE v record;
BEGIN
  FOR v IN
    SELECT organization_id, record_id, array_agg(ordinal ORDER BY ordinal) AS ordinals, array_agg(version ORDER BY version) AS versions
    FROM changes WHERE record_id = ANY (p_ids) AND collection = p_collection AND logged_on = p_day AND transaction_id = pg_current_xact_id()
    GROUP BY organization_id, record_id HAVING array_agg(version ORDER BY ordinal) <> array_agg(version ORDER BY version)
  LOOP
    -- Out of each other's way first: the key is checked row by row.
    UPDATE changes SET ordinal = -ordinal WHERE organization_id = v.organization_id AND transaction_id = pg_current_xact_id()
      AND ordinal = ANY (v.ordinals) AND logged_on = p_day;
    UPDATE changes c SET ordinal = w.ordinal FROM unnest(v.ordinals, v.versions) w (ordinal, version)
      WHERE c.organization_id = v.organization_id AND c.transaction_id = pg_current_xact_id() AND c.logged_on = p_day
        AND c.ordinal < 0 AND c.version = w.version;
  END LOOP;
END $$;

-- After a statement: its rows go to the log, its transaction to `commits`. A row can be among them more than once: what several
-- foreign keys do to it, each with its version, is one statement to PostgreSQL. And a statement inside a trigger is captured
-- before the one that fired it.
CREATE FUNCTION generate_capture(p_table regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_name text := (SELECT collection FROM tracked_tables WHERE table_oid = p_table);
  v_frame text := $frame$
DECLARE
  v_annotations jsonb := coalesce(local_setting('annotations'), '{}')::jsonb;
  v_unit text := coalesce(local_setting('unit'), pg_current_xact_id()::text);
  v_day date := (now() AT TIME ZONE 'UTC')::date;
  v_now bigint := now_ms();
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'isolation_level_refused: tracked tables are written at READ COMMITTED, not at %%', upper(current_setting('transaction_isolation'))
      USING ERRCODE = 'BL001', HINT = 'Begin the transaction with: BEGIN ISOLATION LEVEL READ COMMITTED';
  END IF;
  IF NOT EXISTS (SELECT FROM %2$s) THEN RETURN NULL; END IF;
  %5$s
  WITH counted AS (SELECT organization_id, count(*)::int AS n FROM %2$s GROUP BY organization_id),
  reserved AS (
    INSERT INTO commits AS c (transaction_id, organization_id, size, logged_on)
    SELECT pg_current_xact_id(), organization_id, n, v_day FROM counted
    ON CONFLICT (transaction_id, organization_id) DO UPDATE SET size = c.size + excluded.size
    RETURNING c.organization_id, c.size)
  INSERT INTO changes (organization_id, transaction_id, ordinal, logged_on, collection, record_id, operation, version,
    record, changed, previous, clock, actor_id, mutation_id, unit, overwrote)
  SELECT r.organization_id, pg_current_xact_id(), r.size - k.n + row_number() OVER (PARTITION BY r.organization_id ORDER BY %3$s.id, %3$s.version),
    v_day, %1$L, %3$s.id, %4$s
  FROM reserved r JOIN counted k USING (organization_id) JOIN %2$s %3$s USING (organization_id) %6$s;
  IF pg_trigger_depth() > 1 THEN PERFORM set_config('branchline.nested', 'on', true); END IF;
  IF local_setting('nested') = 'on' THEN PERFORM order_versions(%1$L, ARRAY(SELECT id FROM %2$s), v_day); END IF;
  IF local_setting('wakes') IS DISTINCT FROM 'off' THEN PERFORM pg_notify('branchline_log', ''); END IF;
  RETURN NULL;
END $frame$;
  -- A delete's clock: its own, or the server's; of a cascade not below what was written to the record that goes with it.
  v_buried text := $s$CASE WHEN local_setting('clock') IS NULL THEN next_clock(latest_clock(o.field_clocks), v_now)
      ELSE greatest(local_setting('clock') COLLATE "C", latest_clock(o.field_clocks)) END$s$;
  v_operation text; v_body text;
BEGIN
  FOREACH v_operation IN ARRAY ARRAY['insert', 'update', 'delete'] LOOP
    v_body := CASE v_operation
      WHEN 'insert' THEN format(v_frame, v_name, 'new_rows', 'n',
        format($s$'insert', n.version, %s, '{}', '{}', latest_clock(n.field_clocks), n.updated_by, n.last_mutation_id,
          coalesce(v_annotations -> n.last_mutation_id::text ->> 'unit', v_unit),
          (v_annotations -> n.last_mutation_id::text -> 'overwrote')::json$s$, encoding_of(p_table, 'n')),
        format($s$IF local_setting('revives') = 'on' THEN
    DELETE FROM tombstones t WHERE t.organization_id = ANY (ARRAY(SELECT DISTINCT organization_id FROM new_rows)) AND t.collection = %L
      AND t.record_id = ANY (ARRAY(SELECT id FROM new_rows))
      AND EXISTS (SELECT FROM new_rows n WHERE n.organization_id = t.organization_id AND n.id = t.record_id AND n.version > t.version);
  END IF;$s$, v_name), '')
      WHEN 'update' THEN format(v_frame, v_name, 'new_rows', 'n',
        format($s$'update', n.version, %s, %s, %s, coalesce(s.clock, next_clock(latest_clock(n.field_clocks), v_now)),
          n.updated_by, n.last_mutation_id, coalesce(v_annotations -> n.last_mutation_id::text ->> 'unit', v_unit),
          (v_annotations -> n.last_mutation_id::text -> 'overwrote')::json$s$,
          encoding_of(p_table, 'n'), changed_of(p_table, 'n', 'o'), previous_of(p_table, 'n', 'o')),
        '', $s$JOIN old_rows o ON o.organization_id = n.organization_id AND o.id = n.id AND o.version = n.version - 1
    CROSS JOIN LATERAL (SELECT max((value ->> 0) COLLATE "C") AS clock FROM jsonb_each(n.field_clocks) WHERE (value ->> 1)::bigint = n.version) s$s$)
      ELSE format(v_frame, v_name, 'old_rows', 'o',
        format($s$'delete', o.version + 1, %s, '{}', '{}', %s, local_setting('actor')::uuid, local_setting('mutation')::uuid, v_unit,
          CASE WHEN o.id = local_setting('record')::uuid THEN (v_annotations -> local_setting('mutation') -> 'overwrote')::json END$s$,
          encoding_of(p_table, 'o'), v_buried),
        format($s$INSERT INTO tombstones AS t (organization_id, collection, record_id, version, clock, field_clocks, record, deleted_by)
    SELECT o.organization_id, %L, o.id, o.version + 1, %s, o.field_clocks, %s, local_setting('actor')::uuid
    FROM old_rows o JOIN organizations g ON g.id = o.organization_id
    ON CONFLICT (organization_id, collection, record_id) DO UPDATE SET version = excluded.version, clock = excluded.clock,
      field_clocks = excluded.field_clocks, record = excluded.record, deleted_by = excluded.deleted_by, deleted_at = excluded.deleted_at;$s$,
          v_name, v_buried, encoding_of(p_table, 'o')), '')
    END;
    -- Transition tables have no index and any size, and plans are kept: hash joins are never bad.
    EXECUTE format('CREATE OR REPLACE FUNCTION generated.%I() RETURNS trigger LANGUAGE plpgsql %s SET plan_cache_mode = force_generic_plan
      SET enable_nestloop = off SET enable_mergejoin = off AS %L',
      v_name || '_capture_' || v_operation, settings_of(p_table), v_body);
  END LOOP;
END $$;

-- What becomes of a write that is older than its record's delete: it merges into the tombstone, where it shows if a later
-- write revives the record. So it is held to the table's constraints by a trial that leaves nothing behind; else a later
-- writer would be refused for it. If the deleted record itself would not pass any more (what it refers to has gone as well),
-- nobody is to blame.
CREATE FUNCTION generate_burying(p_table regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_name text := (SELECT collection FROM tracked_tables WHERE table_oid = p_table);
  v_columns text[] := ARRAY(SELECT name FROM table_columns(p_table) WHERE is_writable ORDER BY ordinal);
  v_insert text; v_values text;
BEGIN
  SELECT coalesce(string_agg(format(', %I', c), ''), ''), coalesce(string_agg(format(', r.%I', c), ''), '')
    INTO v_insert, v_values FROM unnest(v_columns) c;
  EXECUTE format('CREATE OR REPLACE FUNCTION generated.%I(p_row %s) RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS %L',
    v_name || '_try', p_table, format($body$
BEGIN
  INSERT INTO %1$s (organization_id, id%2$s) SELECT current_organization(), p_row.id%3$s FROM (SELECT p_row.*) r;
  RAISE EXCEPTION 'tried' USING ERRCODE = 'BL006';
EXCEPTION WHEN SQLSTATE 'BL006' THEN NULL;
END $body$, p_table, v_insert, v_values));
  EXECUTE format('CREATE OR REPLACE FUNCTION generated.%I(p_dead tombstones, p_fields jsonb, p_clock text, p_base_version bigint, p_author uuid)
    RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS %L',
    v_name || '_bury', format($body$
DECLARE v_merge field_merge; v_before %1$s; v_after %1$s; v_is_sound boolean := true;
BEGIN
  v_merge := merge_fields(p_dead.record::jsonb, p_dead.field_clocks, p_fields, p_clock, p_base_version, p_author, p_dead.version + 1);
  IF v_merge.winners = '{}' THEN RETURN; END IF;
  v_before := jsonb_populate_record(NULL::%1$s, p_dead.record::jsonb);
  v_after := jsonb_populate_record(v_before, v_merge.winners);
  BEGIN
    PERFORM generated.%2$I(v_after);
  EXCEPTION WHEN integrity_constraint_violation THEN
    BEGIN
      PERFORM generated.%2$I(v_before);
    EXCEPTION WHEN integrity_constraint_violation THEN v_is_sound := false;
    END;
    IF v_is_sound THEN RAISE; END IF;
  END;
  UPDATE tombstones x SET field_clocks = v_merge.clocks, record = encode_record(v_after)
    WHERE x.organization_id = p_dead.organization_id AND x.collection = p_dead.collection AND x.record_id = p_dead.record_id;
END $body$, p_table, v_name || '_try'));
END $$;

-- The one function that writes mutations of this table. p_mutations: the elements of write_mutations for one
-- organisation, each record at most once. Rights are read with the rows, in the same statement.
CREATE FUNCTION generate_writing(p_table regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_name text := (SELECT collection FROM tracked_tables WHERE table_oid = p_table);
  v_columns text[] := ARRAY(SELECT name FROM table_columns(p_table) WHERE is_writable ORDER BY ordinal);
  v_insert text; v_values text; v_set text; v_defaults text; v_branch boolean := 'branch_id' = ANY (v_columns); v_hidden text;
BEGIN
  SELECT coalesce(string_agg(format(', %I', c), ''), ''), coalesce(string_agg(format(', r.%I', c), ''), ''),
    coalesce(string_agg(format(', %1$I = r.%1$I', c), ''), '') INTO v_insert, v_values, v_set FROM unnest(v_columns) c;
  SELECT coalesce(string_agg(format('%L, %s', name, default_expression), ', '), '') INTO v_defaults
    FROM table_columns(p_table) WHERE is_writable AND default_expression IS NOT NULL;
  SELECT format('array_remove(ARRAY[%s], NULL)', string_agg(format('CASE WHEN m.role <> ALL (%L) THEN %L END', readable_by, name), ', ')) INTO v_hidden
    FROM table_columns(p_table) WHERE is_writable AND NOT is_sensitive AND readable_by IS NOT NULL HAVING count(*) > 0;
  -- Plans are kept, and may have been made while the table was small. So rows are reached by `id = ANY (…)` and the key, at any
  -- size, and mutations, whose number no plan knows, meet them in hash joins: a nested loop looks through all of them for each.
  EXECUTE format('CREATE OR REPLACE FUNCTION generated.%I(p_mutations jsonb) RETURNS SETOF mutation_result LANGUAGE plpgsql %s
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_nestloop = off SET enable_mergejoin = off AS %L',
    v_name || '_write', settings_of(p_table), format($body$
DECLARE
  v_organization uuid := current_organization();
  v_operations text[] := ARRAY(SELECT DISTINCT e ->> 'operation' FROM jsonb_array_elements(p_mutations) e);
  v_ids uuid[] := ARRAY(SELECT (e ->> 'id')::uuid FROM jsonb_array_elements(p_mutations) e);
  v_missing mutation_result[]; v_m record; v_row %1$s; v_dead tombstones; v_merge field_merge; v_result mutation_result;
  v_found bigint; v_revives boolean; v_has_graves boolean := false;
  v_wants_records boolean := p_mutations @? '$[*].want_record ? (@ == true)';
BEGIN
  -- All rows first and in one order, then the graves of the others, so that two batches cannot deadlock: what a batch writes
  -- later is among what its first wave locks here. Whoever deletes or revives one of these records at this moment is waited for.
  PERFORM FROM %1$s t WHERE t.organization_id = v_organization AND t.id = ANY (v_ids) ORDER BY t.id FOR NO KEY UPDATE;
  GET DIAGNOSTICS v_found = ROW_COUNT;
  IF v_found < cardinality(v_ids) THEN
    PERFORM FROM tombstones x WHERE x.organization_id = v_organization AND x.collection = %2$L AND x.record_id = ANY (v_ids)
      ORDER BY x.record_id FOR UPDATE;
    v_has_graves := FOUND;
  END IF;

  IF 'insert' = ANY (v_operations) THEN
    RETURN QUERY
    WITH m AS (SELECT * FROM mutations_of(p_mutations, v_organization) WHERE operation = 'insert'),
    placed AS (
      SELECT m.*, %6$s AS values, x.version AS dead_version, x.clock AS dead_clock, coalesce(m.clock, next_clock(x.clock, now_ms())) AS effective,
        (x.record ->> 'branch_id')::uuid AS dead_branch, x.record AS dead_record, x.field_clocks AS dead_clocks, %18$s AS hidden
      FROM m LEFT JOIN tombstones x ON x.organization_id = v_organization AND x.collection = %2$L AND x.record_id = m.id
        AND x.record_id = ANY (v_ids)),
    -- Whoever brings a deleted record back, or writes to it, writes to its branch. Who may not read it learns as much as of any other.
    judged AS MATERIALIZED (
      SELECT p.*, CASE WHEN NOT p.writes OR NOT %7$s THEN 'forbidden' WHEN p.dead_version IS NOT NULL AND NOT %19$s THEN 'id_taken'
        WHEN p.dead_version IS NOT NULL AND NOT %8$s THEN 'forbidden'
        WHEN p.effective <= p.dead_clock COLLATE "C" THEN 'beaten' ELSE 'write' END AS verdict
      FROM placed p),
    annotated AS (SELECT set_config('branchline.annotations', jsonb_object_agg(j.mutation_id, jsonb_build_object('unit', j.unit))::text, true) FROM judged j),
    inserted AS (
      INSERT INTO %1$s AS t (organization_id, id, updated_by, last_mutation_id, field_clocks%3$s)
      SELECT v_organization, j.id, j.user_id, j.mutation_id,
        jsonb_build_object('*', jsonb_build_array(j.effective, coalesce(j.dead_version, 0) + 1, j.user_id))%20$s%4$s
      FROM annotated CROSS JOIN judged j CROSS JOIN LATERAL jsonb_populate_record(NULL::%1$s, generated.%9$I() || j.values%21$s) r
      WHERE j.verdict = 'write' ORDER BY j.id
      ON CONFLICT (organization_id, id) DO NOTHING
      RETURNING t.id, t.version, CASE WHEN v_wants_records THEN %17$s END AS record)
    SELECT j.ordinal, CASE WHEN i.id IS NOT NULL THEN 'applied' ELSE 'rejected' END, i.version, CASE WHEN i.id IS NULL THEN j.clock ELSE j.effective END,
      CASE WHEN j.want_record THEN i.record END, NULL::jsonb,
      CASE WHEN j.verdict = 'forbidden' THEN 'forbidden' WHEN i.id IS NULL THEN 'id_taken' END, NULL::text, NULL::jsonb, NULL::jsonb
    FROM judged j LEFT JOIN inserted i ON i.id = j.id WHERE j.verdict <> 'beaten';
    IF v_has_graves THEN
      -- Inserts that are older than the delete. What was revived has no grave any more.
      FOR v_m IN
        SELECT p.* FROM (SELECT m.*, %6$s AS values, %18$s AS hidden FROM mutations_of(p_mutations, v_organization) m WHERE m.operation = 'insert') p
        WHERE p.writes AND %7$s ORDER BY p.id
      LOOP
        SELECT * INTO v_dead FROM tombstones x
          WHERE x.organization_id = v_organization AND x.collection = %2$L AND x.record_id = v_m.id AND v_m.clock COLLATE "C" <= x.clock;
        CONTINUE WHEN NOT FOUND;
        v_row := jsonb_populate_record(NULL::%1$s, v_dead.record::jsonb);
        CONTINUE WHEN NOT %13$s;  -- refused above
        v_m.clock := distinct_clock(v_dead.field_clocks, v_m.clock);
        v_row := jsonb_populate_record(NULL::%1$s, generated.%9$I() || v_m.values);
        PERFORM generated.%16$I(v_dead, business_fields(encode_record(v_row)::jsonb) - v_m.hidden, v_m.clock, NULL, v_m.user_id);
        RETURN NEXT ROW(v_m.ordinal, 'merged', v_dead.version, v_m.clock, NULL, lost_to_delete(v_m.fields, v_organization, %2$L, v_m.id),
          NULL, NULL, NULL, NULL)::mutation_result;
      END LOOP;
    END IF;
  END IF;

  IF 'update' = ANY (v_operations) THEN
    v_missing := '{}';
    FOR v_result IN
      WITH m AS (SELECT * FROM mutations_of(p_mutations, v_organization) WHERE operation = 'update'),
      target AS MATERIALIZED (
        SELECT m.*, ROW(t.*)::%1$s AS before, t.id AS found, t.version AS old_version, t.field_clocks,
          coalesce(distinct_clock(t.field_clocks, m.clock), next_clock(latest_clock(t.field_clocks), now_ms())) AS effective,
          CASE WHEN t.id IS NULL THEN 'missing' WHEN NOT %10$s THEN 'not_found'
            WHEN NOT m.writes OR NOT %11$s OR NOT %12$s THEN 'forbidden'
            WHEN m.mode = 'strict' AND m.base_version IS DISTINCT FROM t.version THEN 'version_mismatch' ELSE 'write' END AS verdict
        FROM m LEFT JOIN %1$s t ON t.organization_id = v_organization AND t.id = m.id AND t.id = ANY (v_ids)),
      -- The record as it was is wanted where something may be lost, overwritten or left as it is: seldom, and it costs most of a merge.
      weighed AS MATERIALIZED (
        SELECT g.*, CASE WHEN g.verdict = 'version_mismatch' OR g.old_version > g.base_version OR g.fields = '{}'
          OR g.effective <= latest_clock(g.field_clocks) COLLATE "C" THEN encode_record(g.before) END AS shown FROM target g),
      judged AS MATERIALIZED (
        SELECT g.*, f.winners, f.lost, f.overwrote, f.clocks FROM weighed g
        CROSS JOIN LATERAL merge_fields(shown::jsonb, field_clocks, fields, effective, base_version, user_id, old_version + 1) f),
      annotated AS (SELECT set_config('branchline.annotations', jsonb_object_agg(j.mutation_id,
          CASE WHEN j.overwrote IS NULL THEN jsonb_build_object('unit', j.unit) ELSE jsonb_build_object('unit', j.unit, 'overwrote', j.overwrote) END)::text, true)
        FROM judged j),
      updated AS (
        UPDATE %1$s AS t SET updated_by = j.user_id, last_mutation_id = j.mutation_id, field_clocks = j.clocks%5$s
        FROM annotated CROSS JOIN judged j CROSS JOIN LATERAL jsonb_populate_record(j.before, j.winners) r
        WHERE j.verdict = 'write' AND j.winners <> '{}' AND t.organization_id = v_organization AND t.id = j.id AND t.id = ANY (v_ids)
        RETURNING t.id, t.version, CASE WHEN j.want_record THEN %17$s END AS record)
      -- A refusal says nothing of the record: whoever is refused may not be one who reads it (I8).
      SELECT j.ordinal, CASE WHEN j.verdict <> 'write' THEN 'rejected' WHEN j.lost IS NULL THEN 'applied' ELSE 'merged' END,
        CASE WHEN j.verdict IN ('write', 'version_mismatch') THEN coalesce(u.version, j.old_version) END,
        CASE WHEN j.verdict IN ('write', 'version_mismatch') THEN j.effective ELSE j.clock END,
        CASE WHEN j.verdict = 'version_mismatch' THEN j.shown WHEN j.verdict = 'write' AND j.want_record THEN coalesce(u.record, j.shown) END,
        CASE WHEN j.verdict = 'write' THEN j.lost END, nullif(j.verdict, 'write'), NULL::text, NULL::jsonb, CASE WHEN u.id IS NOT NULL THEN j.overwrote END
      FROM judged j LEFT JOIN updated u ON u.id = j.id
    LOOP
      IF v_result.code = 'missing' THEN
        v_missing := v_missing || v_result;
        CONTINUE;
      END IF;
      RETURN NEXT v_result;
      IF v_result.overwrote IS NOT NULL THEN
        PERFORM keep_overwritten(%2$L, u.id, v_result.overwrote, u.user_id, v_result.version)
          FROM mutations_of(p_mutations, v_organization) u WHERE u.ordinal = v_result.ordinal;
      END IF;
    END LOOP;
    -- Updates of deleted records: a later one revives it, an earlier one merges into the tombstone.
    FOR v_m IN SELECT u.* FROM mutations_of(p_mutations, v_organization) u WHERE u.ordinal IN (SELECT x.ordinal FROM unnest(v_missing) x) ORDER BY u.id LOOP
      v_result := ROW(v_m.ordinal, 'rejected', NULL, v_m.clock, NULL, NULL, 'not_found', NULL, NULL, NULL)::mutation_result;
      SELECT * INTO v_dead FROM tombstones x WHERE x.organization_id = v_organization AND x.collection = %2$L AND x.record_id = v_m.id FOR UPDATE;
      IF NOT FOUND THEN
        PERFORM refuse_if_revived(EXISTS (SELECT FROM %1$s t WHERE t.organization_id = v_organization AND t.id = v_m.id));
      ELSIF v_m.clock IS NOT NULL AND v_m.fields <> '{}' THEN
        v_row := jsonb_populate_record(NULL::%1$s, v_dead.record::jsonb);
        v_m.clock := distinct_clock(v_dead.field_clocks, v_m.clock);
        v_revives := v_m.clock COLLATE "C" > v_dead.clock;
        IF NOT %15$s THEN
          NULL;
        ELSIF NOT v_m.writes OR NOT %13$s OR NOT %14$s THEN
          v_result.code := 'forbidden';
        ELSIF v_m.mode = 'strict' THEN
          v_result.code := 'version_mismatch';
        ELSIF v_revives THEN
          v_merge := merge_fields(v_dead.record::jsonb, v_dead.field_clocks, v_m.fields, v_m.clock, v_m.base_version, v_m.user_id, v_dead.version + 1);
          v_row := jsonb_populate_record(v_row, v_merge.winners);
          PERFORM set_config('branchline.annotations', jsonb_build_object(v_m.mutation_id,
            jsonb_build_object('unit', v_m.unit) || CASE WHEN v_merge.overwrote IS NULL THEN '{}' ELSE jsonb_build_object('overwrote', v_merge.overwrote) END)::text, true);
          IF v_merge.overwrote IS NOT NULL THEN PERFORM keep_overwritten(%2$L, v_m.id, v_merge.overwrote, v_m.user_id, v_dead.version + 1); END IF;
          INSERT INTO %1$s AS t (organization_id, id, created_at, updated_by, last_mutation_id, field_clocks%3$s)
          SELECT v_organization, v_m.id, v_row.created_at, v_m.user_id, v_m.mutation_id, v_merge.clocks%4$s FROM (SELECT v_row.*) r
          RETURNING t.version, encode_record(t.*) INTO v_result.version, v_result.record;
          IF NOT v_m.want_record THEN v_result.record := NULL; END IF;
          v_result := ROW(v_m.ordinal, CASE WHEN v_merge.lost IS NULL THEN 'applied' ELSE 'merged' END, v_result.version, v_m.clock, v_result.record,
            v_merge.lost, NULL, NULL, NULL, v_merge.overwrote)::mutation_result;
        ELSE
          PERFORM generated.%16$I(v_dead, v_m.fields, v_m.clock, v_m.base_version, v_m.user_id);
          v_result := ROW(v_m.ordinal, 'merged', v_dead.version, v_m.clock, NULL, lost_to_delete(v_m.fields, v_organization, %2$L, v_m.id),
            NULL, NULL, NULL, NULL)::mutation_result;
        END IF;
      END IF;
      RETURN NEXT v_result;
    END LOOP;
  END IF;

  -- Deletes one by one: cascades carry no mutation of their own, so who and which is said by settings.
  IF 'delete' = ANY (v_operations) THEN
    FOR v_m IN SELECT * FROM mutations_of(p_mutations, v_organization) d WHERE d.operation = 'delete' ORDER BY d.id LOOP
      v_result := ROW(v_m.ordinal, 'rejected', NULL, v_m.clock, NULL, NULL, 'not_found', NULL, NULL, NULL)::mutation_result;
      v_dead := NULL;
      SELECT * INTO v_row FROM %1$s t WHERE t.organization_id = v_organization AND t.id = v_m.id FOR UPDATE;
      IF NOT FOUND THEN
        SELECT * INTO v_dead FROM tombstones x WHERE x.organization_id = v_organization AND x.collection = %2$L AND x.record_id = v_m.id FOR UPDATE;
        v_row := jsonb_populate_record(NULL::%1$s, v_dead.record::jsonb);
      END IF;
      IF v_row.id IS NULL THEN
        PERFORM refuse_if_revived(EXISTS (SELECT FROM %1$s t WHERE t.organization_id = v_organization AND t.id = v_m.id));
      ELSIF NOT %15$s THEN
        NULL;
      ELSIF v_dead.record_id IS NOT NULL AND v_m.clock IS NULL THEN
        NULL;
      ELSIF NOT v_m.writes OR NOT %13$s THEN
        v_result.code := 'forbidden';
      ELSIF v_dead.record_id IS NOT NULL THEN
        -- Deleted already; the later delete is the one that counts.
        UPDATE tombstones x SET clock = v_m.clock, deleted_by = v_m.user_id
          WHERE x.organization_id = v_organization AND x.collection = %2$L AND x.record_id = v_m.id AND x.clock < v_m.clock COLLATE "C";
        v_result := ROW(v_m.ordinal, 'applied', v_dead.version, v_m.clock, NULL, NULL, NULL, NULL, NULL, NULL)::mutation_result;
      ELSIF v_m.mode = 'strict' AND v_m.base_version IS DISTINCT FROM v_row.version THEN
        v_result.code := 'version_mismatch';
        v_result.version := v_row.version;
        v_result.record := encode_record(v_row);
      ELSE
        v_result.clock := coalesce(v_m.clock, next_clock(latest_clock(v_row.field_clocks), now_ms()));
        v_result.code := NULL;
        IF v_result.clock COLLATE "C" < latest_clock(v_row.field_clocks) THEN
          v_result.status := 'merged';
          v_result.version := v_row.version;
          v_result.lost := lost_delete(v_row.field_clocks);
        ELSE
          v_result.overwrote := overwrote_by_delete(encode_record(v_row)::jsonb, v_row.field_clocks, v_m.base_version, v_m.user_id);
          PERFORM set_config('branchline.actor', v_m.user_id::text, true), set_config('branchline.mutation', v_m.mutation_id::text, true),
            set_config('branchline.unit', v_m.unit, true), set_config('branchline.clock', v_result.clock, true), set_config('branchline.record', v_m.id::text, true),
            set_config('branchline.annotations', jsonb_build_object(v_m.mutation_id,
              CASE WHEN v_result.overwrote IS NULL THEN '{}' ELSE jsonb_build_object('overwrote', v_result.overwrote) END)::text, true);
          IF v_result.overwrote IS NOT NULL THEN PERFORM keep_overwritten(%2$L, v_m.id, v_result.overwrote, v_m.user_id, v_row.version + 1); END IF;
          DELETE FROM %1$s t WHERE t.organization_id = v_organization AND t.id = v_m.id;
          PERFORM set_config('branchline.actor', '', true), set_config('branchline.mutation', '', true),
            set_config('branchline.unit', '', true), set_config('branchline.clock', '', true), set_config('branchline.record', '', true);
          v_result.status := 'applied';
          v_result.version := v_row.version + 1;
        END IF;
      END IF;
      RETURN NEXT v_result;
    END LOOP;
  END IF;
END $body$,
    p_table, v_name, v_insert, v_values, v_set,
    CASE WHEN v_branch THEN $s$CASE WHEN cardinality(m.branch_ids) = 1 AND NOT m.fields ? 'branch_id' THEN m.fields || jsonb_build_object('branch_id', m.branch_ids[1]) ELSE m.fields END$s$ ELSE 'm.fields' END,
    CASE WHEN v_branch THEN $s$coalesce(p.branch_ids IS NULL OR (p.values ->> 'branch_id')::uuid = ANY (p.branch_ids), false)$s$ ELSE 'true' END,
    CASE WHEN v_branch THEN 'coalesce(p.branch_ids IS NULL OR p.dead_branch = ANY (p.branch_ids), false)' ELSE 'true' END, v_name || '_defaults',
    CASE WHEN v_branch THEN 'coalesce(m.reads_all OR t.branch_id IS NULL OR t.branch_id = ANY (m.branch_ids), false)' ELSE 'true' END,
    CASE WHEN v_branch THEN 'coalesce(m.branch_ids IS NULL OR t.branch_id = ANY (m.branch_ids), false)' ELSE 'true' END,
    CASE WHEN v_branch THEN $s$coalesce(m.branch_ids IS NULL OR NOT m.fields ? 'branch_id' OR (m.fields ->> 'branch_id')::uuid = ANY (m.branch_ids), false)$s$ ELSE 'true' END,
    CASE WHEN v_branch THEN 'coalesce(v_m.branch_ids IS NULL OR v_row.branch_id = ANY (v_m.branch_ids), false)' ELSE 'true' END,
    CASE WHEN v_branch THEN $s$coalesce(v_m.branch_ids IS NULL OR NOT v_m.fields ? 'branch_id' OR (v_m.fields ->> 'branch_id')::uuid = ANY (v_m.branch_ids), false)$s$ ELSE 'true' END,
    CASE WHEN v_branch THEN 'coalesce(v_m.reads_all OR v_row.branch_id IS NULL OR v_row.branch_id = ANY (v_m.branch_ids), false)' ELSE 'true' END,
    v_name || '_bury', encoding_of(p_table, 't'),  -- in the statement itself: a function is called for each row
    coalesce(v_hidden, $s$'{}'::text[]$s$),
    CASE WHEN v_branch THEN 'coalesce(p.reads_all OR p.dead_branch IS NULL OR p.dead_branch = ANY (p.branch_ids), false)' ELSE 'true' END,
    -- Nobody empties what they may not read: it stays as it was when the record was deleted.
    CASE WHEN v_hidden IS NULL THEN '' ELSE ' || members_of(j.dead_clocks, j.hidden)' END,
    CASE WHEN v_hidden IS NULL THEN '' ELSE ' || members_of(j.dead_record::jsonb, j.hidden)' END
  ));
  EXECUTE format('CREATE OR REPLACE FUNCTION generated.%I() RETURNS jsonb LANGUAGE sql VOLATILE SET search_path = public, pg_temp AS %L',
    v_name || '_defaults', 'SELECT jsonb_build_object(' || v_defaults || ')');
END $$;

CREATE FUNCTION generate_functions(p_table regclass) RETURNS void LANGUAGE sql AS $$
  SELECT public.generate_encoding(p_table);
  SELECT public.generate_stamping(p_table);
  SELECT public.generate_capture(p_table);
  SELECT public.generate_burying(p_table);
  SELECT public.generate_writing(p_table);
$$;

CREATE FUNCTION refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'truncate_refused: % is tracked, and TRUNCATE cannot be captured', TG_TABLE_NAME
    USING ERRCODE = 'BL004', HINT = 'Use DELETE.';
END $$;

-- Statement triggers see only statements that name their own table, so every partition carries them too.
CREATE FUNCTION create_capture_triggers(p_table regclass, p_collection text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE OR REPLACE TRIGGER branchline_capture_insert AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION generated.%I()', p_table, p_collection || '_capture_insert');
  EXECUTE format('CREATE OR REPLACE TRIGGER branchline_capture_update AFTER UPDATE ON %s REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION generated.%I()', p_table, p_collection || '_capture_update');
  EXECUTE format('CREATE OR REPLACE TRIGGER branchline_capture_delete AFTER DELETE ON %s REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION generated.%I()', p_table, p_collection || '_capture_delete');
  EXECUTE format('CREATE OR REPLACE TRIGGER branchline_refuse_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_truncate()', p_table);
END $$;

-- Makes a table part of the system: a collection in the API, the gateway and the documentation within seconds, its
-- writes in the log, whoever makes them. The table needs `organization_id uuid` and `id uuid`; the rest is added.
-- Rows that it has already are logged as inserts. Called again, it brings the generated code up to date.
CREATE FUNCTION track(p_table regclass) RETURNS text LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
  v_name text; v_schema text; v_kind "char"; v_bad text; v_partition regclass; v_known boolean;
BEGIN
  SELECT c.relname, n.nspname, c.relkind INTO v_name, v_schema, v_kind
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = p_table;
  IF v_schema <> 'public' OR v_kind NOT IN ('r', 'p') THEN
    RAISE EXCEPTION 'cannot track %: expected a table in schema public', p_table USING ERRCODE = 'BL005';
  END IF;
  IF v_name !~ '^[a-z][a-z0-9_]{0,39}$' OR v_name IN ('auth', 'sync', 'changes', 'overwritten', 'client-config', 'commits', 'history', 'tombstones', 'mutations',
      'overwritten_values', 'epochs', 'sessions', 'users', 'organizations', 'invitations', 'password_resets', 'sealed_values', 'security_events', 'people', 'portal',
      'client_portal_access', 'integrations', 'preferences', 'tracked_tables', 'relay_leases', 'relay_positions', 'migrations') THEN
    RAISE EXCEPTION 'cannot track %: expected a name of lower-case letters, digits and _ (at most 40) that the system does not use itself', p_table USING ERRCODE = 'BL005';
  END IF;
  SELECT string_agg(format('%s %s', want.name, 'uuid'), ', ') INTO v_bad FROM (VALUES ('organization_id'), ('id')) want(name)
    WHERE NOT EXISTS (SELECT FROM table_columns(p_table) c WHERE c.name = want.name AND c.type_name = 'uuid');
  IF v_bad IS NOT NULL THEN
    RAISE EXCEPTION 'cannot track %: expected the columns %', p_table, v_bad USING ERRCODE = 'BL005';
  END IF;
  SELECT string_agg(name, ', ') INTO v_bad FROM table_columns(p_table) WHERE name !~ '^[a-z_][a-z0-9_]*$';
  IF v_bad IS NOT NULL THEN
    RAISE EXCEPTION 'cannot track %: column names are lower-case letters, digits and _; these are not: %', p_table, v_bad USING ERRCODE = 'BL005';
  END IF;

  v_known := EXISTS (SELECT FROM tracked_tables WHERE table_oid = p_table);
  PERFORM set_config('branchline.tracking', 'on', true);
  IF NOT v_known THEN
    DELETE FROM tracked_tables WHERE collection = v_name;
    INSERT INTO tracked_tables (table_oid, collection) VALUES (p_table, v_name);
    EXECUTE format('ALTER TABLE %s
      ALTER organization_id SET NOT NULL, ALTER id SET NOT NULL, ALTER id SET DEFAULT uuidv7(),
      ADD COLUMN IF NOT EXISTS version bigint NOT NULL DEFAULT 1,
      ADD COLUMN IF NOT EXISTS created_at timestamptz NOT NULL DEFAULT now(),
      ADD COLUMN IF NOT EXISTS updated_at timestamptz NOT NULL DEFAULT now(),
      ADD COLUMN IF NOT EXISTS updated_by uuid,
      ADD COLUMN IF NOT EXISTS last_mutation_id uuid,
      ADD COLUMN IF NOT EXISTS field_clocks jsonb NOT NULL DEFAULT ''{}''', p_table);
    IF NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = p_table AND i.indisunique AND i.indpred IS NULL AND i.indnkeyatts = 2
        AND (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a WHERE a.attrelid = p_table AND a.attnum = ANY (i.indkey)) = '{id,organization_id}') THEN
      EXECUTE format('ALTER TABLE %s ADD UNIQUE (organization_id, id)', p_table);
    END IF;
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', p_table);
    EXECUTE format('CREATE POLICY branchline_organization ON %s USING (organization_id = current_organization())', p_table);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO branchline_api', p_table);
    EXECUTE format('GRANT SELECT ON %s TO branchline_gateway', p_table);
  END IF;
  IF NOT v_known THEN
    -- Until the table is analysed: an organisation may have all of its rows. Else any index that begins with it looks as good
    -- as the key, and each write of a new system reads the whole organisation.
    PERFORM pg_restore_attribute_stats('schemaname', n.nspname::text, 'relname', c.relname::text, 'attname', 'organization_id',
      'inherited', c.relkind = 'p', 'null_frac', 0::real, 'avg_width', 16, 'n_distinct', 1::real)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = p_table
        AND NOT EXISTS (SELECT FROM pg_statistic s WHERE s.starelid = c.oid);
  END IF;
  PERFORM generate_functions(p_table);
  IF NOT v_known THEN PERFORM log_existing_rows(p_table, v_name); END IF;
  EXECUTE format('CREATE OR REPLACE TRIGGER zz_branchline_stamp BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION generated.%I()', p_table, v_name || '_stamp');
  PERFORM create_capture_triggers(p_table, v_name);
  FOR v_partition IN SELECT relid FROM pg_partition_tree(p_table) WHERE relid <> p_table LOOP
    PERFORM create_capture_triggers(v_partition, v_name);
  END LOOP;
  PERFORM set_config('branchline.tracking', '', true);
  PERFORM pg_notify('branchline_schema', '');
  RETURN format('%s is tracked', v_name);
END $$;

-- Rows older than the tracking of their table enter the log as inserts. Runs before the table has its triggers.
CREATE FUNCTION log_existing_rows(p_table regclass, p_collection text) RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  EXECUTE format('UPDATE %s SET field_clocks = jsonb_build_object(''*'', jsonb_build_array(next_clock(NULL, now_ms()), version, updated_by))', p_table);
  EXECUTE format($sql$
    WITH counted AS (SELECT organization_id, count(*)::int AS n FROM %1$s GROUP BY organization_id),
    reserved AS (
      INSERT INTO commits AS c (transaction_id, organization_id, size, logged_on)
      SELECT pg_current_xact_id(), organization_id, n, (now() AT TIME ZONE 'UTC')::date FROM counted
      ON CONFLICT (transaction_id, organization_id) DO UPDATE SET size = c.size + excluded.size
      RETURNING c.organization_id, c.size, c.logged_on)
    INSERT INTO changes (organization_id, transaction_id, ordinal, logged_on, collection, record_id, operation, version, record, clock, actor_id, unit)
    SELECT organization_id, pg_current_xact_id(), r.size - k.n + row_number() OVER (PARTITION BY organization_id ORDER BY t.id), r.logged_on,
      %2$L, t.id, 'insert', t.version, %3$s, t.field_clocks -> '*' ->> 0, t.updated_by, pg_current_xact_id()::text
    FROM reserved r JOIN counted k USING (organization_id) JOIN %1$s t USING (organization_id)$sql$, p_table, p_collection, encoding_of(p_table, 't'));
END $$;

CREATE FUNCTION untrack(p_table regclass) RETURNS text LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE v_name text := (SELECT collection FROM tracked_tables WHERE table_oid = p_table); v_part regclass; v_suffix text;
BEGIN
  IF v_name IS NULL THEN RAISE EXCEPTION '% is not tracked', p_table USING ERRCODE = 'BL005'; END IF;
  FOR v_part IN SELECT p_table UNION SELECT relid FROM pg_partition_tree(p_table) LOOP
    FOREACH v_suffix IN ARRAY ARRAY['capture_insert', 'capture_update', 'capture_delete', 'refuse_truncate'] LOOP
      EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', 'branchline_' || v_suffix, v_part);
    END LOOP;
  END LOOP;
  EXECUTE format('DROP TRIGGER IF EXISTS zz_branchline_stamp ON %s', p_table);
  EXECUTE format('DROP POLICY IF EXISTS branchline_organization ON %s', p_table);
  EXECUTE format('REVOKE ALL ON %s FROM branchline_api, branchline_gateway', p_table);
  EXECUTE format('DROP FUNCTION public.encode_record(%s)', p_table);
  FOREACH v_suffix IN ARRAY ARRAY['_stamp()', '_capture_insert()', '_capture_update()', '_capture_delete()', '_write(jsonb)', '_defaults()',
      '_bury(tombstones, jsonb, text, bigint, uuid)', '_try(' || p_table || ')'] LOOP
    EXECUTE format('DROP FUNCTION generated.%I%s', v_name || split_part(v_suffix, '(', 1), '(' || split_part(v_suffix, '(', 2));
  END LOOP;
  DELETE FROM tracked_tables WHERE table_oid = p_table;
  RETURN format('%s is no longer tracked', v_name);
END $$;

-- Keeps the generated code with the tables: ALTER TABLE, COMMENT and new partitions are followed as they happen.
CREATE FUNCTION follow_ddl() RETURNS event_trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE v_table oid; v_collection text; v_partition oid;
BEGIN
  IF local_setting('tracking') = 'on' THEN RETURN; END IF;
  FOR v_table IN SELECT DISTINCT t.table_oid FROM pg_event_trigger_ddl_commands() d JOIN tracked_tables t ON t.table_oid = d.objid WHERE d.classid = 'pg_class'::regclass LOOP
    IF NOT EXISTS (SELECT FROM pg_class c JOIN tracked_tables t ON t.table_oid = c.oid
        WHERE c.oid = v_table AND c.relname = t.collection AND c.relnamespace = 'public'::regnamespace) THEN
      RAISE EXCEPTION 'rename_refused: % is tracked, and its collection is known by the table''s name', v_table::regclass
        USING ERRCODE = 'BL007', HINT = 'SELECT untrack(table), rename it, SELECT track(table): its clients then read it anew.';
    END IF;
    PERFORM set_config('branchline.tracking', 'on', true);
    PERFORM generate_functions(v_table);
    PERFORM set_config('branchline.tracking', '', true);
  END LOOP;
  FOR v_partition, v_collection IN
    SELECT DISTINCT p.relid::oid, t.collection FROM tracked_tables t
    CROSS JOIN LATERAL pg_partition_tree(t.table_oid) p
    WHERE p.relid <> t.table_oid AND NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = p.relid AND g.tgname = 'branchline_capture_insert')
  LOOP
    PERFORM set_config('branchline.tracking', 'on', true);
    PERFORM create_capture_triggers(v_partition, v_collection);
    PERFORM set_config('branchline.tracking', '', true);
  END LOOP;
END $$;

-- DROP TABLE … CASCADE of a tracked table takes the rest of what belonged to it along.
CREATE FUNCTION forget_dropped() RETURNS event_trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE v_collection text; v_function regprocedure;
BEGIN
  FOR v_collection IN DELETE FROM tracked_tables t USING pg_event_trigger_dropped_objects() d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = t.table_oid AND d.objsubid = 0 RETURNING t.collection LOOP
    FOR v_function IN SELECT p.oid FROM pg_proc p JOIN unnest(ARRAY['stamp', 'capture_insert', 'capture_update', 'capture_delete',
        'write', 'defaults', 'bury', 'try']) suffix ON p.proname = v_collection || '_' || suffix WHERE p.pronamespace = 'generated'::regnamespace LOOP
      EXECUTE format('DROP FUNCTION %s', v_function);
    END LOOP;
    PERFORM pg_notify('branchline_schema', '');
  END LOOP;
END $$;

-- Event triggers are a superuser's. Without one, run SELECT track(table) again after DDL; `branchline doctor` says when.
DO $$ BEGIN
  IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
    CREATE EVENT TRIGGER branchline_follow_ddl ON ddl_command_end
      WHEN TAG IN ('ALTER TABLE', 'COMMENT', 'CREATE TABLE') EXECUTE FUNCTION follow_ddl();
    CREATE EVENT TRIGGER branchline_forget_dropped ON sql_drop WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION forget_dropped();
  END IF;
END $$;

-- 7 numbering -----------------------------------------------------------------------------------------------------

-- At commit, once for each organisation that the transaction touched: take the organisation's lock, which is held until
-- the commit is visible, and map the transaction to the next range of offsets (I1). The lock covers one small row.
-- The first firing numbers them all, in one order over all transactions, so two that touch the same ones cannot deadlock.
CREATE FUNCTION number_commits() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE v_commit record; v_next bigint;
BEGIN
  FOR v_commit IN SELECT organization_id, hashtextextended(organization_id::text, 0) AS lock_key FROM commits
      WHERE transaction_id = pg_current_xact_id() AND first_offset IS NULL ORDER BY lock_key, organization_id LOOP
    PERFORM pg_advisory_xact_lock(v_commit.lock_key);
    SELECT first_offset + size INTO v_next FROM commits
      WHERE organization_id = v_commit.organization_id AND first_offset IS NOT NULL ORDER BY first_offset DESC LIMIT 1;
    UPDATE commits SET first_offset = coalesce(v_next, 1), numbered_at = clock_timestamp()
      WHERE transaction_id = pg_current_xact_id() AND organization_id = v_commit.organization_id;
  END LOOP;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER number_commits AFTER INSERT ON commits DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION number_commits();

-- 8 writing -------------------------------------------------------------------------------------------------------

CREATE FUNCTION mutations_of(p_mutations jsonb, p_organization uuid) RETURNS TABLE (
  ordinal integer, user_id uuid, mutation_id uuid, id uuid, operation text, fields jsonb, base_version bigint, clock text, mode text,
  unit text, want_record boolean, branch_ids uuid[], reads_all boolean, writes boolean, role text
) LANGUAGE sql STABLE AS $$
  SELECT x.*, a.branch_ids, coalesce(a.reads = 'all' OR a.branch_ids IS NULL, false), coalesce(a.role <> 'viewer', false), a.role::text
  FROM jsonb_to_recordset(p_mutations) AS x(ordinal integer, user_id uuid, mutation_id uuid, id uuid, operation text, fields jsonb,
    base_version bigint, clock text, mode text, unit text, want_record boolean)
  LEFT JOIN organization_members a ON a.organization_id = p_organization AND a.user_id = x.user_id AND a.disabled_at IS NULL
$$;

CREATE FUNCTION lost_to_delete(p_fields jsonb, p_organization uuid, p_collection text, p_record uuid) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_agg(jsonb_build_object('field', f.key, 'mine', f.value, 'theirs', NULL, 'by', x.deleted_by, 'at_ms', left(x.clock, 13)::bigint) ORDER BY f.key)
  FROM tombstones x CROSS JOIN LATERAL jsonb_each(p_fields) f
  WHERE x.organization_id = p_organization AND x.collection = p_collection AND x.record_id = p_record
$$;

-- A delete that is older than the newest field: the record stays. `*` is the whole record.
CREATE FUNCTION lost_delete(p_clocks jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT jsonb_build_array(jsonb_build_object('field', '*', 'mine', NULL, 'theirs', NULL, 'by', value ->> 2, 'at_ms', left(value ->> 0, 13)::bigint))
  FROM jsonb_each(p_clocks) ORDER BY (value ->> 0) COLLATE "C" DESC LIMIT 1
$$;

-- Neither record nor tombstone was seen, but now there is the record: it was revived at that moment. What follows has to be
-- found out anew, by the same transaction run again (as after a deadlock).
CREATE FUNCTION refuse_if_revived(p_exists boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_exists THEN
    RAISE EXCEPTION 'record_revived: a record was revived while this transaction looked for it; run it again' USING ERRCODE = '40001';
  END IF;
END $$;

-- Mutations of one record follow each other in waves; within a wave, collections and records come in one order.
CREATE FUNCTION apply_waves(p_mutations jsonb) RETURNS SETOF mutation_result LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE v_collection text; v_part jsonb;
BEGIN
  FOR v_collection, v_part IN
    SELECT collection, jsonb_agg(e) FROM (
      SELECT e, e ->> 'collection' AS collection, row_number() OVER (PARTITION BY e ->> 'collection', e ->> 'id' ORDER BY n) AS wave
      FROM jsonb_array_elements(p_mutations) WITH ORDINALITY AS x(e, n)) w
    GROUP BY wave, collection ORDER BY wave, collection
  LOOP
    RETURN QUERY EXECUTE format('SELECT * FROM generated.%I($1)', v_collection || '_write') USING v_part;
  END LOOP;
END $$;

-- Which mutations of a slice refer, by this foreign key, to what is neither there nor inserted with them: their ordinals.
CREATE FUNCTION orphans(p_mutations jsonb, p_constraint oid) RETURNS integer[] LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE v_child regclass; v_parent regclass; v_column text; v_key text; v_type text; v_scope text; v_orphans integer[];
BEGIN
  SELECT c.conrelid, c.confrelid, a.attname, k.attname, format_type(k.atttypid, NULL),
    CASE cardinality(c.conkey) WHEN 2 THEN ' AND x.organization_id = current_organization()' END
  INTO v_child, v_parent, v_column, v_key, v_type, v_scope
  FROM pg_constraint c
  JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[cardinality(c.conkey)]
  JOIN pg_attribute k ON k.attrelid = c.confrelid AND k.attnum = c.confkey[cardinality(c.confkey)]
  WHERE c.oid = p_constraint AND c.contype = 'f' AND (cardinality(c.conkey) = 1
    OR cardinality(c.conkey) = 2 AND EXISTS (SELECT FROM pg_attribute o WHERE o.attrelid = c.conrelid AND o.attnum = c.conkey[1] AND o.attname = 'organization_id'));
  IF NOT FOUND THEN RETURN '{}'; END IF;
  EXECUTE format($f$SELECT coalesce(array_agg(ordinal), '{}') FROM (
      SELECT (e ->> 'ordinal')::integer AS ordinal, e -> 'fields' ->> %L AS reference FROM jsonb_array_elements($1) e
      WHERE e ->> 'collection' = $2 AND e ->> 'operation' IN ('insert', 'update')) m
    WHERE reference IS NOT NULL AND pg_input_is_valid(reference, %L)
      AND NOT EXISTS (SELECT FROM %s x WHERE x.%I = reference::%s%s)
      AND NOT EXISTS (SELECT FROM jsonb_array_elements($1) e WHERE e ->> 'collection' = $3 AND e ->> 'operation' = 'insert' AND e ->> 'id' = reference)$f$,
    v_column, v_type, v_parent, v_key, v_type, v_scope) INTO v_orphans
    USING p_mutations, (SELECT collection FROM tracked_tables WHERE table_oid = v_child), (SELECT collection FROM tracked_tables WHERE table_oid = v_parent);
  RETURN v_orphans;
END $$;

-- Locks the records of a slice, and the graves of those that are none, in the order in which waves do: a slice that was undone
-- has let them go, and its parts would take them in another order than a neighbour.
CREATE FUNCTION lock_records(p_mutations jsonb) RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE v_table regclass; v_collection text; v_ids uuid[];
BEGIN
  FOR v_table, v_collection, v_ids IN
    SELECT t.table_oid, t.collection, array_agg((e ->> 'id')::uuid) FROM jsonb_array_elements(p_mutations) e
    JOIN tracked_tables t ON t.collection = e ->> 'collection' GROUP BY t.table_oid, t.collection ORDER BY t.collection
  LOOP
    EXECUTE format('SELECT FROM %s t WHERE t.organization_id = current_organization() AND t.id = ANY ($1) ORDER BY t.id FOR NO KEY UPDATE', v_table) USING v_ids;
    PERFORM FROM tombstones x WHERE x.organization_id = current_organization() AND x.collection = v_collection AND x.record_id = ANY (v_ids)
      ORDER BY x.record_id FOR UPDATE;
  END LOOP;
END $$;

-- A slice without those that refer to nothing, and then each of these: applied all the same, because it may be refused for
-- another reason, which comes first.
CREATE FUNCTION apply_apart(p_mutations jsonb, p_orphans integer[]) RETURNS mutation_result[] LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE v_rest jsonb; v_results mutation_result[]; v_mutation jsonb;
BEGIN
  IF cardinality(p_orphans) > 0 THEN PERFORM lock_records(p_mutations); END IF;
  SELECT jsonb_agg(e ORDER BY n) INTO v_rest FROM jsonb_array_elements(p_mutations) WITH ORDINALITY AS x(e, n)
    WHERE (e ->> 'ordinal')::integer <> ALL (p_orphans);
  v_results := CASE WHEN v_rest IS NULL THEN '{}' ELSE apply_slice(v_rest) END;
  FOR v_mutation IN SELECT e FROM jsonb_array_elements(p_mutations) WITH ORDINALITY AS x(e, n) WHERE (e ->> 'ordinal')::integer = ANY (p_orphans) ORDER BY n LOOP
    v_results := v_results || apply_slice(jsonb_build_array(v_mutation));
  END LOOP;
  RETURN v_results;
END $$;

-- A failing mutation never fails its neighbours. Whoever refers to nothing is found and stands alone; for any other error the
-- slice is halved until the bad ones do. References to nothing seldom come once, and to undo a slice costs as much as the slice:
-- so for a while after one, those that come by the same foreign key are looked for beforehand (`suspect`).
CREATE FUNCTION apply_slice(p_mutations jsonb) RETURNS mutation_result[] LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
  v_half integer := jsonb_array_length(p_mutations) / 2; v_state text; v_constraint text; v_column text; v_message text; v_table text;
  v_foreign_key oid; v_orphans integer[];
BEGIN
  RETURN ARRAY(SELECT r FROM apply_waves(p_mutations) r);
EXCEPTION WHEN OTHERS THEN
  -- Only what the mutation itself can be blamed for: its data, a constraint, a right, a trigger that objects.
  IF left(SQLSTATE, 2) NOT IN ('22', '23', '44', 'BL') AND SQLSTATE NOT IN ('42501', 'P0001') THEN RAISE; END IF;
  GET STACKED DIAGNOSTICS v_state = RETURNED_SQLSTATE, v_constraint = CONSTRAINT_NAME, v_column = COLUMN_NAME, v_message = MESSAGE_TEXT, v_table = TABLE_NAME;
  IF v_half = 0 THEN
    RETURN ARRAY[ROW((p_mutations -> 0 ->> 'ordinal')::integer, 'rejected', NULL, NULL, NULL, NULL,
      CASE v_state WHEN '23505' THEN 'conflict' WHEN '23503' THEN 'foreign_key' WHEN '42501' THEN 'forbidden' ELSE 'invalid' END,
      coalesce(nullif(v_column, ''), nullif(v_constraint, ''), v_message), NULL, NULL)::mutation_result];
  END IF;
  IF v_state = '23503' THEN
    SELECT oid INTO v_foreign_key FROM pg_constraint WHERE conrelid = to_regclass(quote_ident(v_table)) AND conname = v_constraint;
    v_orphans := orphans(p_mutations, v_foreign_key);
    IF cardinality(v_orphans) > 0 THEN
      PERFORM set_config('branchline.suspect', v_foreign_key || ' ' || local_setting('mutations')::bigint + 10000, false);
      RETURN apply_apart(p_mutations, v_orphans);
    END IF;
  END IF;
  PERFORM lock_records(p_mutations);
  RETURN apply_slice(jsonb_path_query_array(p_mutations, '$[0 to $n]', jsonb_build_object('n', v_half - 1)))
      || apply_slice(jsonb_path_query_array(p_mutations, '$[$n to last]', jsonb_build_object('n', v_half)));
END $$;

-- What was answered before: the stored answer to the same person for the same content, a refusal for another content.
-- A loop, because one look into the key for each is always good; a join's plan depends on when it was made.
CREATE FUNCTION answered_before(p_mutations jsonb, p_organization uuid) RETURNS SETOF mutation_result LANGUAGE plpgsql
  SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE v_mutation record; v_stored mutations;
BEGIN
  FOR v_mutation IN SELECT * FROM jsonb_to_recordset(p_mutations) AS x(ordinal integer, user_id uuid, mutation_id uuid, fingerprint text) LOOP
    SELECT * INTO v_stored FROM mutations s
      WHERE s.organization_id = p_organization AND s.user_id = v_mutation.user_id AND s.mutation_id = v_mutation.mutation_id;
    IF NOT FOUND THEN
      CONTINUE;
    ELSIF v_stored.fingerprint = v_mutation.fingerprint THEN
      RETURN NEXT ROW(v_mutation.ordinal, 'duplicate', v_stored.answer ->> 'version', v_stored.answer ->> 'clock', NULL, NULL, NULL, NULL, v_stored.answer, NULL)::mutation_result;
    ELSE
      RETURN NEXT ROW(v_mutation.ordinal, 'rejected', NULL, NULL, NULL, NULL, 'id_reused', NULL, NULL, NULL)::mutation_result;
    END IF;
  END LOOP;
END $$;

-- The one way in for the API. p_batch: an array of {ordinal, organization_id, user_id, mutation_id, collection, id,
-- operation, fields, base_version, clock, mode, unit, fingerprint, want_record}; clocks are clamped by the caller.
-- It answers each ordinal once. Once a transaction, and last: it numbers the commit, so its locks are held from here on.
-- p_wakes: wake the relay with the commit. NOTIFY lets one transaction commit at a time, so a busy caller does it afterwards.
CREATE FUNCTION write_mutations(p_batch jsonb, p_wakes boolean DEFAULT false) RETURNS SETOF mutation_result LANGUAGE plpgsql
  SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE v_organization uuid; v_mine jsonb; v_rest jsonb; v_results mutation_result[];
  v_before bigint := coalesce(local_setting('mutations'), '1')::bigint; v_after bigint := v_before + jsonb_array_length(p_batch);
  v_suspect text[] := string_to_array(local_setting('suspect'), ' ');
BEGIN
  -- A plan that was made while a table was small reaches rows by any index of the organisation, and PostgreSQL keeps it until
  -- the table is analysed. So plans are made again whenever this session has written twice as much as when they were made.
  IF v_after >= 256 AND floor(log(v_after) / log(2)) > floor(log(v_before) / log(2)) THEN
    DISCARD PLANS;
  END IF;
  PERFORM set_config('branchline.mutations', v_after::text, false);
  IF local_setting('written') = pg_current_xact_id()::text THEN
    RAISE EXCEPTION 'write_mutations was called twice in a transaction; it runs once, and last' USING ERRCODE = 'BL003';
  END IF;
  PERFORM set_config('branchline.written', pg_current_xact_id()::text, true), set_config('branchline.wakes', 'off', true);
  FOR v_organization, v_mine IN
    SELECT (e ->> 'organization_id')::uuid, jsonb_agg(e ORDER BY n) FROM jsonb_array_elements(p_batch) WITH ORDINALITY AS x(e, n) GROUP BY 1 ORDER BY 1
  LOOP
    PERFORM set_config('branchline.organization_id', v_organization::text, true);
    v_results := ARRAY(SELECT r FROM answered_before(v_mine, v_organization) r);
    v_rest := v_mine;
    IF cardinality(v_results) > 0 THEN
      RETURN QUERY SELECT * FROM unnest(v_results);
      v_rest := (SELECT jsonb_agg(e ORDER BY n) FROM jsonb_array_elements(v_mine) WITH ORDINALITY AS x(e, n)
        WHERE (e ->> 'ordinal')::integer NOT IN (SELECT r.ordinal FROM unnest(v_results) r));
    END IF;
    CONTINUE WHEN v_rest IS NULL;
    v_results := CASE WHEN v_suspect[2]::bigint >= v_after AND jsonb_array_length(v_rest) > 1 THEN apply_apart(v_rest, orphans(v_rest, v_suspect[1]::oid)) ELSE apply_slice(v_rest) END;
    IF 'rejected' IN (SELECT r.status FROM unnest(v_results) r) THEN
      -- What refused a mutation may be its own first time, committed by another process while this one waited for the row.
      v_results := ARRAY(SELECT CASE WHEN b.ordinal IS NULL THEN r ELSE b END FROM unnest(v_results) r LEFT JOIN answered_before((
          SELECT jsonb_agg(e) FROM jsonb_array_elements(v_rest) e JOIN unnest(v_results) x ON x.ordinal = (e ->> 'ordinal')::integer
          WHERE x.status = 'rejected'), v_organization) b ON b.ordinal = r.ordinal);
    END IF;
    INSERT INTO mutations (organization_id, user_id, mutation_id, collection, record_id, fingerprint, answer)
      SELECT v_organization, (e ->> 'user_id')::uuid, (e ->> 'mutation_id')::uuid, e ->> 'collection', (e ->> 'id')::uuid, e ->> 'fingerprint',
        jsonb_strip_nulls(jsonb_build_object('status', r.status, 'version', r.version, 'clock', r.clock)) || CASE WHEN r.lost IS NULL THEN '{}' ELSE jsonb_build_object('lost', r.lost) END
      FROM unnest(v_results) r JOIN jsonb_array_elements(v_rest) e ON (e ->> 'ordinal')::integer = r.ordinal
      WHERE r.status IN ('applied', 'merged');
    RETURN QUERY SELECT * FROM unnest(v_results);
  END LOOP;
  IF p_wakes THEN PERFORM pg_notify('branchline_log', ''); END IF;
  SET CONSTRAINTS ALL IMMEDIATE;
END $$;

-- 9 reading -------------------------------------------------------------------------------------------------------

-- The one order of text in lists, cursors and clients: accents and case aside, then by code point. Clients do the same:
-- x.normalize("NFKD"), marks U+0300 to U+036F removed, lower case. tests/vectors/sort_key.json holds all to it.
-- Not inlined, and leakproof where the owner may say so (a superuser): else row-level security keeps conditions on it from
-- using the indexes, and the second page of a list sorted by name reads the whole organisation.
CREATE FUNCTION sort_key(p_text text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  RETURN lower(regexp_replace(normalize(p_text, NFKD), '[\u0300-\u036f]', '', 'g') COLLATE "pg_c_utf8") COLLATE "C";
END $$;
DO $$ BEGIN
  IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
    ALTER FUNCTION sort_key(text) LEAKPROOF;
  END IF;
END $$;
CREATE INDEX clients_by_name ON clients (organization_id, sort_key(name), id);
CREATE INDEX leads_by_name ON leads (organization_id, sort_key(name), id);
CREATE INDEX contacts_by_name ON contacts (organization_id, sort_key(last_name), id);

-- Who somebody is in an organisation today, if their session, membership, person and organisation are in force. Inlined.
CREATE FUNCTION principal_of(p_organization uuid, p_user uuid, p_session uuid)
RETURNS TABLE (name text, role text, reads text, branch_ids uuid[]) LANGUAGE sql STABLE AS $$
  SELECT u.name, m.role::text, m.reads::text, m.branch_ids
  FROM organization_members m
  JOIN users u ON u.id = m.user_id
  JOIN organizations o ON o.id = m.organization_id
  JOIN sessions s ON s.id = p_session AND s.user_id = m.user_id AND s.organization_id = m.organization_id
  WHERE m.organization_id = p_organization AND m.user_id = p_user AND m.disabled_at IS NULL AND u.disabled_at IS NULL
    AND o.closed_at IS NULL AND s.revoked_at IS NULL AND s.expires_at > now()
$$;

-- The same for many at once, each seen in its own organisation: one round trip where BEGIN, SET and COMMIT make three.
CREATE FUNCTION read_principals(p_organizations uuid[], p_users uuid[], p_sessions uuid[])
RETURNS TABLE (place integer, name text, role text, reads text, branch_ids uuid[]) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. cardinality(p_users) LOOP
    PERFORM set_config('branchline.organization_id', p_organizations[i]::text, true);
    RETURN QUERY SELECT i, p.* FROM principal_of(p_organizations[i], p_users[i], p_sessions[i]) p;
  END LOOP;
END $$;

-- One with the log's epoch and head, seen in its own organisation: what a list that has not changed takes.
CREATE FUNCTION read_principal_and_head(p_organization uuid, p_user uuid, p_session uuid)
RETURNS TABLE (name text, role text, reads text, branch_ids uuid[], epoch text, head bigint) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('branchline.organization_id', p_organization::text, true);
  RETURN QUERY SELECT p.name, p.role, p.reads, p.branch_ids, epoch(), coalesce((
    SELECT c.first_offset + c.size - 1 FROM commits c
    WHERE c.organization_id = p_organization AND c.first_offset IS NOT NULL ORDER BY c.first_offset DESC LIMIT 1), 0)
  FROM principal_of(p_organization, p_user, p_session) p;
END $$;

-- A change as the JSON text that a publication has of it. Inlined.
CREATE FUNCTION publication_text(
  c changes, p_first_offset bigint, p_size integer, p_numbered_at timestamptz, p_actor_name text, p_actor_branch uuid
) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT concat('{"offset":', p_first_offset + c.ordinal - 1, ',"collection":', to_json(c.collection), ',"id":"', c.record_id,
    '","operation":"', c.operation, '","version":', c.version, ',"record":', c.record,
    ',"changed":', array_to_json(c.changed), ',"previous":', c.previous, ',"clock":', to_json(c.clock),
    ',"actor":', coalesce('{"user_id":"' || c.actor_id || '","name":' || coalesce(to_json(p_actor_name)::text, 'null')
      || ',"branch_id":' || coalesce('"' || p_actor_branch || '"', 'null') || '}', 'null'),
    ',"mutation_id":', coalesce('"' || c.mutation_id || '"', 'null'), ',"transaction":', to_json(c.unit),
    ',"committed_at_ms":', floor(extract(epoch FROM p_numbered_at) * 1000)::bigint,
    ',"overwrote":', coalesce(c.overwrote::text, 'null'), ',"last_of_commit":', p_first_offset + p_size - 1, '}')
$$;

-- Changes whenever catalogue() may give something else, and costs a twentieth of it: the versions of the catalogue's own rows.
CREATE FUNCTION catalogue_version() RETURNS text LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
  SELECT md5(concat_ws(';',
    (SELECT string_agg(t.collection || t.xmin || c.xmin, ',' ORDER BY t.collection) FROM tracked_tables t JOIN pg_class c ON c.oid = t.table_oid),
    (SELECT string_agg(a.xmin::text, ',' ORDER BY a.attrelid, a.attnum) FROM tracked_tables t JOIN pg_attribute a ON a.attrelid = t.table_oid WHERE a.attnum > 0),
    (SELECT string_agg(d.xmin::text, ',' ORDER BY d.objoid, d.objsubid) FROM tracked_tables t
      JOIN pg_description d ON d.objoid = t.table_oid AND d.classoid = 'pg_class'::regclass),
    (SELECT string_agg(d.xmin::text, ',' ORDER BY d.adrelid, d.adnum) FROM tracked_tables t JOIN pg_attrdef d ON d.adrelid = t.table_oid),
    (SELECT string_agg(x.xmin::text || r.xmin, ',' ORDER BY x.oid) FROM tracked_tables t
      JOIN pg_constraint x ON x.conrelid = t.table_oid AND x.contype = 'f' JOIN pg_class r ON r.oid = x.confrelid),
    (SELECT string_agg(e.xmin::text, ',' ORDER BY e.oid) FROM pg_enum e)))
$$;

-- What the tracked tables are, from the catalogue and the comments: nothing of it is written a second time elsewhere.
CREATE FUNCTION catalogue() RETURNS jsonb LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
  SELECT coalesce(jsonb_agg(jsonb_build_object(
    'name', t.collection,
    'description', trim(regexp_replace(coalesce(obj_description(t.table_oid, 'pg_class'), ''), '\s*@\w+(\([^)]*\))?', '', 'g')),
    'readable_by', comment_tag(obj_description(t.table_oid, 'pg_class'), 'readable'),
    'writable_by', comment_tag(obj_description(t.table_oid, 'pg_class'), 'writable'),
    'history', comment_tag(obj_description(t.table_oid, 'pg_class'), 'history') IS NOT NULL,
    'fields', f.fields) ORDER BY t.collection), '[]')
  FROM tracked_tables t
  JOIN pg_class c ON c.oid = t.table_oid
  CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object(
      'name', k.name,
      'type', CASE
        WHEN b.typtype = 'e' THEN 'enum'
        WHEN b.typname IN ('text', 'varchar', 'bpchar', 'citext') THEN 'text'
        WHEN b.typname IN ('int2', 'int4') THEN 'integer'
        WHEN b.typname = 'int8' THEN 'bigint'
        WHEN b.typname IN ('timestamptz', 'timestamp') THEN 'timestamp'
        WHEN b.typname IN ('json', 'jsonb') THEN 'json'
        WHEN b.typname IN ('float4', 'float8') THEN 'float'
        WHEN b.typname = 'bool' THEN 'boolean'
        WHEN b.typname IN ('uuid', 'numeric', 'date') THEN b.typname::text
        WHEN b.typname = '_uuid' THEN 'uuid[]'
        WHEN b.typname IN ('_text', '_varchar') THEN 'text[]'
        ELSE 'other' END,
      'bits', CASE b.typname WHEN 'int2' THEN 16 WHEN 'int4' THEN 32 WHEN 'int8' THEN 64 END,
      'nullable', NOT a.attnotnull,
      'has_default', k.default_expression IS NOT NULL,
      'max_length', CASE WHEN b.typname IN ('varchar', 'bpchar') AND a.atttypmod > 4 THEN a.atttypmod - 4 END,
      'precision', CASE WHEN b.typname = 'numeric' AND a.atttypmod > 4 THEN ((a.atttypmod - 4) >> 16) & 65535 END,
      'scale', CASE WHEN b.typname = 'numeric' AND a.atttypmod > 4 THEN (a.atttypmod - 4) & 2047 END,
      'enum_values', (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = b.oid),
      'filterable', comment_tag(d.comment, 'filterable') IS NOT NULL OR k.name = 'id',
      'critical', comment_tag(d.comment, 'critical') IS NOT NULL,
      'sensitive', k.is_sensitive,
      'readable_by', k.readable_by,
      'writable', k.is_writable,
      'references', (SELECT r.relname FROM pg_constraint x JOIN pg_class r ON r.oid = x.confrelid
        WHERE x.conrelid = t.table_oid AND x.contype = 'f' AND a.attnum = x.conkey[cardinality(x.conkey)] ORDER BY r.relname LIMIT 1),
      'description', trim(regexp_replace(coalesce(d.comment, ''), '\s*@\w+(\([^)]*\))?', '', 'g'))
    ) ORDER BY k.ordinal) AS fields
    FROM table_columns(t.table_oid) k
    JOIN pg_attribute a ON a.attrelid = t.table_oid AND a.attname = k.name
    JOIN pg_type y ON y.oid = a.atttypid
    JOIN pg_type b ON b.oid = CASE WHEN y.typtype = 'd' THEN y.typbasetype ELSE y.oid END
    CROSS JOIN LATERAL (SELECT col_description(t.table_oid, a.attnum) AS comment) d
    WHERE k.name NOT IN ('last_mutation_id', 'field_clocks')
  ) f
$$;

-- 10 partitions ---------------------------------------------------------------------------------------------------

-- Days of the log from today to p_days_ahead. ATTACH takes a lock that writers do not wait for; CREATE … PARTITION OF would.
CREATE FUNCTION ensure_log_partitions(p_days_ahead integer DEFAULT 7) RETURNS integer LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE v_day date; v_name text; v_made integer := 0;
BEGIN
  FOR v_day IN SELECT generate_series((now() AT TIME ZONE 'UTC')::date - 1, (now() AT TIME ZONE 'UTC')::date + p_days_ahead, '1 day')::date LOOP
    v_name := 'changes_' || to_char(v_day, 'YYYY_MM_DD');
    IF to_regclass('public.' || v_name) IS NULL THEN
      EXECUTE format('CREATE TABLE public.%I (LIKE public.changes INCLUDING ALL)', v_name);
      EXECUTE format('ALTER TABLE public.%I ALTER COLUMN organization_id SET STATISTICS 0', v_name);
      EXECUTE format('ALTER TABLE public.changes ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', v_name, v_day, v_day + 1);
      v_made := v_made + 1;
    END IF;
  END LOOP;
  RETURN v_made;
END $$;

-- The smallest UUID of version 7 that a moment can have: a bound of a month of activity events.
CREATE FUNCTION uuidv7_floor(p_at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS
  $$ SELECT rpad(lpad(to_hex((extract(epoch FROM p_at) * 1000)::bigint), 12, '0'), 32, '0')::uuid $$;

CREATE FUNCTION ensure_activity_partitions(p_months_ahead integer DEFAULT 3) RETURNS integer LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE v_month timestamptz; v_name text; v_made integer := 0;
BEGIN
  FOR v_month IN SELECT generate_series(date_trunc('month', now(), 'UTC'), date_trunc('month', now(), 'UTC') + make_interval(months => p_months_ahead), '1 month', 'UTC') LOOP
    v_name := 'activity_events_' || to_char(v_month AT TIME ZONE 'UTC', 'YYYY_MM');
    IF to_regclass('public.' || v_name) IS NULL THEN
      EXECUTE format('CREATE TABLE public.%I (LIKE public.activity_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', v_name);
      EXECUTE format('ALTER TABLE public.activity_events ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', v_name,
        uuidv7_floor(v_month), uuidv7_floor((v_month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'));
      PERFORM create_capture_triggers(to_regclass('public.' || v_name), 'activity_events');
      v_made := v_made + 1;
    END IF;
  END LOOP;
  RETURN v_made;
END $$;

-- Forgets which offsets the commits before p_day had, a few at a time so that nobody waits; each organisation keeps its
-- last one, from which its offsets go on. Returns how many went; call again until it is 0, then move the day's partition.
CREATE FUNCTION prune_commits(p_day date, p_limit integer DEFAULT 5000) RETURNS integer LANGUAGE sql VOLATILE SET search_path = public, pg_temp AS $$
  WITH old AS (
    SELECT c.transaction_id, c.organization_id FROM commits c
    WHERE c.logged_on < p_day AND c.first_offset IS NOT NULL AND EXISTS (
      SELECT FROM commits later WHERE later.organization_id = c.organization_id AND later.first_offset > c.first_offset)
    LIMIT p_limit),
  gone AS (DELETE FROM commits c USING old WHERE c.transaction_id = old.transaction_id AND c.organization_id = old.organization_id RETURNING 1)
  SELECT count(*)::integer FROM gone
$$;

-- 11 roles, grants and row-level security --------------------------------------------------------------------------
-- The roles own nothing, and no function is SECURITY DEFINER. branchline_app is the login; a process takes its own role.

DO $$ DECLARE v_role text; BEGIN
  FOREACH v_role IN ARRAY ARRAY['branchline_api', 'branchline_gateway', 'branchline_relay'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = v_role) THEN EXECUTE format('CREATE ROLE %I NOLOGIN', v_role); END IF;
  END LOOP;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'branchline_app') THEN CREATE ROLE branchline_app LOGIN NOINHERIT; END IF;
  GRANT branchline_api, branchline_gateway, branchline_relay TO branchline_app;
  -- No transaction of ours outlives 30 s; somebody's open one in psql ends after five idle minutes.
  ALTER ROLE branchline_app SET transaction_timeout = '30s';
  EXECUTE format('ALTER DATABASE %I SET idle_in_transaction_session_timeout = ''5min''', current_database());
END $$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public, generated TO branchline_api, branchline_gateway, branchline_relay;
GRANT SELECT ON organizations, epochs, commits, tracked_tables TO branchline_api, branchline_gateway, branchline_relay;
GRANT SELECT, INSERT, UPDATE ON users, invitations, client_portal_access TO branchline_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions, password_resets, sealed_values TO branchline_api;
GRANT SELECT, INSERT ON security_events TO branchline_api;
GRANT SELECT (id, name, disabled_at) ON users TO branchline_gateway, branchline_relay;
GRANT SELECT (id, user_id, organization_id, expires_at, revoked_at) ON sessions TO branchline_gateway;
GRANT INSERT, UPDATE ON commits TO branchline_api;
GRANT SELECT, INSERT ON changes, mutations TO branchline_api;
GRANT UPDATE (ordinal) ON changes TO branchline_api; -- order_versions
GRANT SELECT, INSERT, DELETE ON overwritten_values TO branchline_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON tombstones TO branchline_api;
GRANT SELECT ON history TO branchline_api;
GRANT SELECT ON changes TO branchline_gateway, branchline_relay;
GRANT INSERT ON epochs TO branchline_relay;
GRANT SELECT, INSERT, UPDATE, DELETE ON relay_leases, relay_positions TO branchline_relay;

ALTER TABLE invitations ENABLE ROW LEVEL SECURITY;
ALTER TABLE sealed_values ENABLE ROW LEVEL SECURITY;
ALTER TABLE client_portal_access ENABLE ROW LEVEL SECURITY;
ALTER TABLE security_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE changes ENABLE ROW LEVEL SECURITY;
ALTER TABLE history ENABLE ROW LEVEL SECURITY;
ALTER TABLE tombstones ENABLE ROW LEVEL SECURITY;
ALTER TABLE mutations ENABLE ROW LEVEL SECURITY;
ALTER TABLE overwritten_values ENABLE ROW LEVEL SECURITY;
CREATE POLICY branchline_organization ON invitations USING (organization_id = current_organization());
CREATE POLICY branchline_organization ON sealed_values USING (organization_id = current_organization());
CREATE POLICY branchline_organization ON client_portal_access USING (organization_id = current_organization());
CREATE POLICY branchline_organization ON security_events USING (organization_id = current_organization());
CREATE POLICY branchline_organization ON changes USING (organization_id = current_organization());
CREATE POLICY branchline_organization ON history USING (organization_id = current_organization());
CREATE POLICY branchline_organization ON tombstones USING (organization_id = current_organization());
CREATE POLICY branchline_organization ON mutations USING (organization_id = current_organization());
CREATE POLICY branchline_organization ON overwritten_values USING (organization_id = current_organization());
-- The relay carries every organisation's log and shows it to nobody.
CREATE POLICY branchline_relay ON changes FOR SELECT TO branchline_relay USING (true);

SELECT track('branches'), track('organization_members'), track('teams'), track('team_members'), track('clients'), track('leads'), track('contacts'), track('deals'),
  track('tasks'), track('activity_events');

-- A sign-in must find out to which organisations a person belongs before one is chosen.
CREATE POLICY branchline_own_membership ON organization_members FOR SELECT TO branchline_api
  USING (user_id = nullif(current_setting('branchline.user_id', true), '')::uuid);
CREATE POLICY branchline_relay ON organization_members FOR SELECT TO branchline_relay USING (true);
GRANT SELECT (organization_id, user_id, branch_ids) ON organization_members TO branchline_relay;

SELECT ensure_log_partitions(), ensure_activity_partitions();
