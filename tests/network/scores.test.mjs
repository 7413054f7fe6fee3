// The example examples/scores-python: a match that Python plays, as a page and a plain reader see it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch } from "../clients/browser.mjs";
import { Inbox, soon } from "../clients/inbox.mjs";
import { startServer } from "../server.mjs";

const PROGRAM = fileURLToPath(new URL("../../examples/scores-python/scores.py", import.meta.url));

let server, browser;
before(async () => {
  server = await startServer();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

test("a match is watched to its end, and each goal is counted once", async (t) => {
  const python = spawn("python3", [PROGRAM, "--everwire", server.url, "--port", "0", "--pace", "0.03"]);
  t.after(() => python.kill());
  const lines = new Inbox();
  python.stdout.setEncoding("utf8").on("data", (text) => text.split("\n").filter(Boolean).forEach((line) => lines.put(line)));
  python.stderr.setEncoding("utf8").on("data", (text) => lines.put(text));

  const [, url] = /^watch (\S+)$/.exec(await lines.next("the page's address"));
  const page = await browser.newPage();
  await page.goto(url);
  assert.deepEqual(await soon(once(python, "exit"), "the end of the match"), [0, null]);
  await page.getByText("90′ It is over.").waitFor();

  const entries = await (await fetch(`${server.url}/channels/scores/final`)).json();
  const goals = entries.filter(({ said }) => said.startsWith("Goal")).length;
  const { score } = entries.at(-1);
  const total = Object.values(score).reduce((sum, of) => sum + of);
  assert.equal(total, goals);
  assert.equal(await page.textContent("#score"), Object.values(score).join(" : "));
  assert.equal(await page.locator("#said li").count(), entries.length);
  await page.close();
});
