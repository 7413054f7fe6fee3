// The suite itself; `judge.mjs` starts the server, and says where it is.

import { runConformanceTests } from "@durable-streams/server-conformance-tests";

runConformanceTests({
  baseUrl: process.env.EVERWIRE_URL,
  longPollTimeoutMs: Number(process.env.EVERWIRE_LONG_POLL_MS),
});
