/** People and companies that may become clients. */
export interface Leads {
  readonly id: string;
  readonly organization_id: string;
  /** The branch it belongs to; null for the whole organisation. */
  readonly branch_id: string | null;
  readonly name: string;
  readonly company: string | null;
  readonly email: string | null;
  readonly phone: string | null;
  readonly source: "website" | "referral" | "walk_in" | "phone" | "campaign" | "import";
  readonly status: "new" | "contacted" | "qualified" | "won" | "lost";
  readonly score: number | null;
  readonly estimated_value: string | null;
  readonly currency: string;
  /** The person who looks after it. */
  readonly owner_id: string | null;
  /** The client that it became. */
  readonly client_id: string | null;
  readonly next_step_at: string | null;
  readonly notes: string | null;
  readonly version: number;
  readonly created_at: string;
  readonly updated_at: string;
  readonly updated_by: string | null;
}

/** What may be sold to whom, by stage. */
export interface Deals {
  readonly id: string;
  readonly organization_id: string;
  /** The branch it belongs to; null for the whole organisation. */
  readonly branch_id: string | null;
  readonly name: string;
  readonly stage: "qualification" | "proposal" | "negotiation" | "won" | "lost";
  /** What it is worth. */
  readonly amount: string | null;
  readonly currency: string;
  readonly probability: number | null;
  readonly expected_close_on: string | null;
  readonly closed_at: string | null;
  /** The person who looks after it. */
  readonly owner_id: string | null;
  readonly client_id: string | null;
  readonly contact_id: string | null;
  readonly lead_id: string | null;
  readonly notes: string | null;
  readonly version: number;
  readonly created_at: string;
  readonly updated_at: string;
  readonly updated_by: string | null;
}

/** For `connect<Schema>(…)`. */
export interface Schema {
  leads: Leads;
  deals: Deals;
}
