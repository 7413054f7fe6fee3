// However far a connection is, a process that has cut it comes to its end.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";

const RESET = new URL("reset.mjs", import.meta.url).href;

for (const [what, before] of [
  ["open", ""],
  ["about to end", "near.end();"],
]) {
  test(`a socket that is ${what} can be reset, and the other side sees it go`, async () => {
    const program = `
      import { connect, createServer } from "node:net";
      import { reset } from ${JSON.stringify(RESET)};
      const server = createServer((far) => {
        far.on("error", () => {}).resume();
        far.on("close", () => console.log("gone"));
      });
      server.listen(0, "127.0.0.1", () => {
        const near = connect(server.address().port, "127.0.0.1", () => {
          ${before}
          reset(near);
          server.close();
        });
      });`;
    const end = await new Promise((ended) => {
      const options = { timeout: 20_000, killSignal: "SIGKILL" };
      execFile(process.execPath, ["--input-type=module", "--eval", program], options, (error, stdout) =>
        ended({ error: error?.signal ?? error?.code ?? null, stdout }),
      );
    });
    assert.deepEqual(end, { error: null, stdout: "gone\n" });
  });
}
