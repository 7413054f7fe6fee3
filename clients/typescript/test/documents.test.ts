/** The manual says what the code does: its tables have every option with its default, and the reference is current. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { ChannelOptions, ConnectOptions, Environment, ErrorCode, Settings } from "../src/index.js";
import { environmentOf, withDefaults } from "../src/settings.js";

const ROOT = new URL("../../", import.meta.url);
const MANUAL = readFileSync(new URL("../../docs/client.md", ROOT), "utf8");

/** The rows of the table whose first column has that title: name and default. */
function rows(title: string): [name: string, value: string][] {
  const [, table] = MANUAL.split(`| ${title} |`);
  const lines = table!.split("\n\n")[0]!.split("\n").slice(2);
  return lines.map((line) => line.split("|").slice(1, 3).map((cell) => cell.trim()) as [string, string]);
}

const names = (title: string) => rows(title).map(([name]) => name.replaceAll("`", "")).sort();

test("the reference is current; if not, `npm run docs` writes it", async () => {
  const { reference, page } = (await import(new URL("docs.js", ROOT).href)) as { reference(): string; page(): string };
  assert.equal(page(), reference());
});

test("everything that is exported is documented, down to its members", async () => {
  const { exported } = (await import(new URL("docs.js", ROOT).href)) as { exported(): { name: string; about: string; code: string }[] };
  assert.ok(exported().length > 20);
  for (const { name, about, code } of exported()) {
    assert.ok(about, name);
    const lines = code.split("\n");
    for (const [at, line] of lines.entries()) {
      const isMember = /^(class|interface) /.test(code) && /^ {2}[\w[]/.test(line);
      if (isMember) assert.match(lines[at - 1]!, /\*\/$/, `${name}: ${line}`);
    }
  }
});

test("every option of connect is in the manual, with its default", () => {
  const defaults = withDefaults({}, environmentOf());
  const others: Record<Exclude<keyof ConnectOptions, keyof Settings>, true> = { token: true, publisher: true, network: true, environment: true };
  assert.deepEqual(names("option"), [...Object.keys(defaults), ...Object.keys(others)].sort());
  const comments = readFileSync(new URL("src/settings.ts", ROOT), "utf8");
  for (const [cell, value] of rows("option")) {
    const name = cell.replaceAll("`", "") as keyof Settings;
    const number = defaults[name];
    if (typeof number !== "number") continue;
    assert.equal(value, number.toLocaleString("en"), name);
    if (name !== "rememberMs") assert.match(comments, new RegExp(`Default ${value}[.:][^/]*/\n  readonly ${name}:`), `the comment of ${name}`);
  }
});

test("every option of a channel, part of the environment and code of an error is in the manual", () => {
  const channel: Record<keyof ChannelOptions, true> = { offset: true, last: true, echo: true, presence: true };
  const environment: Record<keyof Environment, true> = { WebSocket: true, fetch: true, now: true, after: true, random: true, storage: true, onWake: true };
  const codes: Record<ErrorCode, true> = {
    refused: true,
    unauthorized: true,
    "queue-full": true,
    "timed-out": true,
    "too-large": true,
    closed: true,
    "bad-data": true,
  };
  for (const [title, known] of [
    ["option | default | what", channel],
    ["part", environment],
    ["`code`", codes],
  ] as const) {
    assert.deepEqual(names(title), Object.keys(known).sort());
  }
});
