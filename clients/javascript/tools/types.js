/** Puts the written types beside those that tsc makes: the last step of `npm run types`. */

import { copyFileSync } from "node:fs";

copyFileSync(new URL("../src/types.d.ts", import.meta.url), new URL("../types/types.d.ts", import.meta.url));
