/** The demo accounts. Which rights they have is the server's to say; these words only tell what to expect. */

export const PASSWORD = "demo";

export const PEOPLE = [
  { email: "ana@demo.test", label: "Ana Reyes · all branches", role: "Manager, writes to every branch" },
  { email: "ben@demo.test", label: "Ben Lindqvist · North", role: "Agent, writes to North" },
  { email: "carla@demo.test", label: "Carla Núñez · South", role: "Agent, writes to South" },
  { email: "rita@demo.test", label: "Rita Coelho · South only", role: "Agent, reads and writes South" },
  { email: "vera@demo.test", label: "Vera Novák · reads only", role: "Viewer, writes nothing" },
];

/** Who writes when colleagues are at work: not the two who are shown at first, so that one can tell them apart. No branches: all of them. */
export const COLLEAGUES = [
  { email: "ana@demo.test", branches: [] },
  { email: "rita@demo.test", branches: ["south"] },
];
