// The binary as whoever runs a server meets it: what it says at the start, its configuration, and its end.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectHttp2, constants } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { binary, startServer } from "../server.mjs";
import { Channel } from "./channel.mjs";
import { everwire } from "./command.mjs";
import { Connection } from "./connection.mjs";
import { curl, curlStream } from "./curl.mjs";
import { soon } from "./inbox.mjs";

let folder;
before(() => (folder = mkdtempSync(join(tmpdir(), "everwire-command-"))));
after(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
function file(content) {
  files += 1;
  const path = join(folder, `${files}.toml`);
  writeFileSync(path, content);
  return path;
}

describe("everwire serve", () => {
  test("without any permission says that nobody may read, and what to do next", async (t) => {
    const server = await startServer({ dev: false });
    t.after(() => server.stop());
    assert.match(server.output(), /nobody may read or publish yet/);
    for (const hint of ["`anonymous`", "[channels]", "everwire config", "everwire serve --dev"]) {
      assert.ok(server.output().includes(hint), `${hint} in\n${server.output()}`);
    }
    const read = await curl(`${server.url}/channels/news`);
    assert.equal(read.status, 401);
    assert.match(JSON.parse(read.body).detail, /anonymous/);
    assert.equal((await curl(`${server.url}/`)).status, 404, "the page is for development");
  });

  test("with a permission says nothing of the kind", async (t) => {
    const server = await startServer({ dev: false, config: '[channels]\nanonymous = ["read"]\n' });
    t.after(() => server.stop());
    assert.doesNotMatch(server.output(), /nobody may read|--dev/);
  });

  test("with --dev prints commands that work as they stand", async (t) => {
    const server = await startServer();
    t.after(() => server.stop());
    const command = (word) => new RegExp(`^ +${word} +(curl .*)$`, "m").exec(server.output())[1];
    execFileSync("sh", ["-c", `${command("publish")} --silent --show-error --fail`]);
    const read = spawnSync("timeout", ["5", "sh", "-c", `${command("read")}'?offset=-1' --silent | grep -m1 ^data:`]);
    assert.equal(read.stdout.toString(), 'data: {"text":"hello"}\n');
    const page = /open (http:\S+)/.exec(server.output())[1];
    assert.match((await curl(page)).headers["content-type"], /^text\/html/);
  });

  const cases = [
    // [what is wrong, arguments, environment, what is said]
    ["--dev where others could reach it", ["--dev", "--listen", "0.0.0.0:0"], {}, /loopback only.*0\.0\.0\.0/],
    ["a file that is not there", ["--config", "/nowhere/everwire.toml"], {}, /\/nowhere\/everwire\.toml cannot be read/],
    ["a flag without sense", ["--limits.lines-max", "many"], {}, /--limits\.lines-max.*many.*whole number/s],
    ["a variable without sense", [], { EVERWIRE_LIMITS__LINES_MAX: "many" }, /LINES_MAX|limits\.lines-max/],
    ["an address that is none", ["--listen", "here"], {}, /listen/],
    ["an address that this machine does not have", ["--listen", "192.0.2.1:0"], {}, /cannot listen on 192\.0\.2\.1:0.*--listen/s],
    ["a flag that is unknown", ["--port", "80"], {}, /--port/],
    ["a log level that is none", [], { EVERWIRE_LOG: "=," }, /EVERWIRE_LOG/],
  ];
  for (const [what, args, env, said] of cases) {
    test(`does not start with ${what}, and says why`, async () => {
      const { code, stdout, stderr } = await everwire(["serve", "--listen", "127.0.0.1:0", ...args].filter(unlessTwice), { env });
      assert.notEqual(code, 0);
      assert.equal(stdout, "");
      assert.match(stderr, said);
      assert.doesNotMatch(stderr, /panicked/);
    });
  }

  test("a second server at the same address fails, and the first serves on", async (t) => {
    const server = await startServer();
    t.after(() => server.stop());
    const { code, stderr } = await everwire(["serve", "--dev", "--listen", server.host]);
    assert.equal(code, 1);
    assert.ok(stderr.includes(`cannot listen on ${server.host}`), stderr);
    assert.match(stderr, /stop what listens there, or choose another address with --listen/);
    assert.equal((await curl(`${server.url}/healthz`)).status, 200);
  });
});

/** Of a flag that is given twice the later stays, as a table's row means it. */
function unlessTwice(arg, index, args) {
  const isEarlier = (at) => args[at] === "--listen" && args.lastIndexOf("--listen") > at;
  return !isEarlier(index) && !isEarlier(index - 1);
}

describe("everwire config", () => {
  test("prints a file that means the same when it is read again", async (t) => {
    const first = await everwire(["config"]);
    assert.equal(first.code, 0);
    const path = file(first.stdout);
    assert.equal((await everwire(["config", "--config", path])).stdout, first.stdout);

    const server = await startServer({ dev: false, config: first.stdout });
    t.after(() => server.stop());
    assert.equal((await curl(`${server.url}/healthz`)).status, 200);
  });

  test("keeps what is not the default, rules included", async () => {
    const text = `
      threads = 3
      [http]
      origins = ["https://a.example", "https://b.example"]
      [channels]
      anonymous = ["read"]
      [[rules]]
      match = "chat/**"
      anonymous = ["read", "publish"]
      retain_entries = 7
      [[rules]]
      match = "jobs/*"
      create = "explicit"
    `;
    const printed = await everwire(["config", "--config", file(text)]);
    assert.equal(printed.code, 0, printed.stderr);
    const again = await everwire(["config", "--config", file(printed.stdout)]);
    assert.equal(again.stdout, printed.stdout);
    for (const line of ["threads = 3", 'match = "chat/**"', "retain_entries = 7", 'create = "explicit"', "https://b.example"]) {
      assert.ok(printed.stdout.includes(line), line);
    }
  });

  test("a flag is stronger than a variable, a variable than the file, the file than the default", async () => {
    const path = file("[limits]\nlines_max = 1\nchannels_max = 1\ncontent_bytes_max = 1\n");
    const env = { EVERWIRE_CONFIG: path, EVERWIRE_LIMITS__CHANNELS_MAX: "2", EVERWIRE_LIMITS__CONTENT_BYTES_MAX: "2" };
    const { stdout, stderr } = await everwire(["config", "--limits.content-bytes-max", "3"], { env });
    for (const line of ["lines_max = 1", "channels_max = 2", "content_bytes_max = 3", "head_bytes_max = 16384"]) {
      assert.ok(stdout.split("\n").includes(line), `${line} in\n${stdout}${stderr}`);
    }
  });

  const cases = [
    // [what is wrong, the file, where, what is said]
    ["a setting that is unknown", "threads = 2\n[limits]\nlines_maximum = 5\n", [3, 1], /lines_maximum/],
    ["a section that is unknown", "\n[limit]\n", [2, 2], /limit/],
    ["a value of another type", 'threads = "two"\n', [1, 11], /two/],
    ["a line that breaks off", "threads = 2\nlisten =\n", [2, 9], /./],
    ["a setting twice", "threads = 2\nthreads = 3\n", [2, 1], /duplicate/],
    ["a number below nothing", "[limits]\nlines_max = -1\n", [2, 13], /-1/],
    ["a permission that is unknown", '[channels]\nanonymous = ["read", "write"]\n', [2, 22], /write/],
    ["a rule without a pattern", "[[rules]]\nretain_entries = 1\n", [1, 1], /match/],
    ["a pattern that is none", '[[rules]]\nmatch = "a/**/b"\n', [2, 9], /\*\*/],
  ];
  for (const [what, content, [line, column], said] of cases) {
    test(`${what}: the error names line ${line}, column ${column}`, async () => {
      const path = file(content);
      for (const command of ["config", "serve"]) {
        const { code, stdout, stderr } = await everwire([command, "--config", path]);
        assert.equal(code, 1);
        assert.equal(stdout, "");
        assert.ok(stderr.includes(path), `the file's name in\n${stderr}`);
        assert.match(stderr, new RegExp(`line ${line}, column ${column}\\b`));
        assert.match(stderr, said);
      }
    });
  }

  test("ends quietly when nobody reads on, as in `everwire config | head -1`", () => {
    const script = `"${binary()}" config | head -c 1`;
    for (let n = 0; n < 5; n += 1) {
      const { stdout, stderr } = spawnSync("sh", ["-c", script]);
      assert.deepEqual([stdout.length, stderr.toString()], [1, ""]);
    }
  });
});

describe("SIGTERM", () => {
  const RECONNECT_MS_MAX = 300;
  const CONFIG = `[stop]\nreconnect_ms_max = ${RECONNECT_MS_MAX}\n`;

  function assertHint(text, pattern) {
    const [, hint] = pattern.exec(text) ?? assert.fail(`${JSON.stringify(text)} is not ${pattern}`);
    assert.ok(Number(hint) <= RECONNECT_MS_MAX, `${hint} ms`);
  }

  for (const signal of ["SIGTERM", "SIGINT"]) {
    test(`(or ${signal}) tells every line to come back, each in its own way, and the server ends with 0`, async (t) => {
      const server = await startServer({ config: CONFIG });
      t.after(() => server.stop());
      const channel = new Channel(server);
      const start = await channel.publish("in the log");

      const socket = new WebSocket(channel.ws);
      const closed = once(socket, "close");
      await soon(once(socket, "open"), "a WebSocket");
      const events = curlStream("-H", "accept: text/event-stream", channel.url);
      const ndjson = curlStream("-H", "accept: application/x-ndjson", channel.url);
      await Promise.all([events.head(), ndjson.head()]);
      const poll = curl(`${channel.url}?offset=${start}&live=long-poll`);
      const http2 = connectHttp2(server.url);
      const goaway = once(http2, "goaway");
      const http2Poll = http2.request({ ":path": `${channel.path}?offset=${start}&live=long-poll` });
      const http2Answer = once(http2Poll, "response");
      // The polls are parked once the server counts five lines, and the stream of HTTP/2.
      await parked(server, 5);

      const began = Date.now();
      assert.equal(await server.stop(signal), 0);
      assert.ok(Date.now() - began < 5_000, "nobody had to be cut");

      const [code, reason] = await soon(closed, "the end of the WebSocket");
      assert.equal(code, 1001);
      assertHint(reason.toString(), /reconnect after (\d+) ms/);

      assert.equal(await events.exit(), 0, "the chunked body is whole");
      assertHint(events.lines.rest.filter((line) => line.startsWith("retry:")).at(-1), /^retry: (\d+)$/);
      assert.equal(await ndjson.exit(), 0, "the chunked body is whole");
      assertHint(ndjson.lines.rest.at(-1), /^\{"drain":\{"after_ms":(\d+)\}\}$/);

      for (const { status, headers } of [await poll, fieldsOf(await soon(http2Answer, "the answer over HTTP/2"))]) {
        assert.equal(status, 204);
        assert.equal(headers["stream-next-offset"], start);
      }
      assert.equal((await soon(goaway, "GOAWAY"))[0], constants.NGHTTP2_NO_ERROR);
      http2.destroy();
    });
  }

  function fieldsOf([headers]) {
    return { status: headers[":status"], headers };
  }

  /** Waits until the server says that it carries so many lines. */
  async function parked(server, count) {
    const deadline = Date.now() + 5_000;
    let lines;
    do {
      const metrics = (await curl(`${server.url}/metrics`)).body.toString();
      lines = [...metrics.matchAll(/^everwire_lines(?:\{.*\})? (\d+)/gm)].reduce((sum, [, n]) => sum + Number(n), 0);
    } while (lines < count && Date.now() < deadline);
    assert.equal(lines, count, "lines that the metrics count");
  }

  test("lets a request that has begun come to its end", async (t) => {
    const server = await startServer();
    t.after(() => server.stop());
    const connection = await Connection.open(server);
    t.after(() => connection.close());
    await connection.write(`POST /channels/late HTTP/1.1\r\nhost: ${server.host}\r\ncontent-length: 10\r\n\r\nhalf `);
    // The server has seen the head when it has answered on another connection that came later.
    assert.equal((await curl(`${server.url}/healthz`)).status, 200);
    const stopped = server.stop();
    await refusing(server);
    await connection.write("whole");
    const { status, headers } = await connection.response();
    assert.equal(status, 204);
    assert.equal(headers.connection?.toLowerCase(), "close");
    assert.equal(await stopped, 0);
  });

  /** Waits until the server takes no new connections. */
  async function refusing(server) {
    for (const deadline = Date.now() + 5_000; Date.now() < deadline; ) {
      const connection = await Connection.open(server).catch(() => null);
      if (connection === null) return;
      connection.close();
    }
    assert.fail("the server still takes connections");
  }

  test("does not wait for connections that ask nothing", async (t) => {
    const server = await startServer();
    t.after(() => server.stop());
    const [fresh, used, half] = await Promise.all([0, 1, 2].map(() => Connection.open(server)));
    await half.write("GET /healthz HT");
    await used.write(`GET /healthz HTTP/1.1\r\nhost: ${server.host}\r\n\r\n`);
    assert.equal((await used.response()).status, 200);
    const began = Date.now();
    assert.equal(await server.stop(), 0);
    assert.ok(Date.now() - began < 5_000, `${Date.now() - began} ms`);
    for (const connection of [fresh, used]) assert.equal((await connection.end()).length, 0);
  });

  const head = (server, path) => `GET ${path} HTTP/1.1\r\nhost: ${server.host}\r\naccept: text/event-stream\r\n\r\n`;
  const stuck = [
    // [what, the bytes that it sends, the size of entries]
    ["a connection that says nothing", () => "", 1],
    ["a request that breaks off in its head", (server) => head(server, "/channels/news").slice(0, 50), 1],
    ["a request that breaks off in its content", () => "POST /channels/news HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nx", 1],
    ["a reader that takes nothing of many small entries", head, 100],
    ["a reader that takes nothing of a few large entries", head, 1 << 20],
  ];
  for (const [what, request, bytes] of stuck) {
    test(`waits no longer than stop.drain_ms for ${what}`, async (t) => {
      const server = await startServer({ config: "[stop]\ndrain_ms = 500\n[channels]\nretain_entries = 1000000\n" });
      t.after(() => server.stop());
      const channel = new Channel(server);
      const batch = JSON.stringify(Array(10_000).fill("x".repeat(bytes)).slice(0, Math.ceil((1 << 20) / bytes)));
      const type = { "content-type": "application/json" };
      for (let n = 0; n < 16; n += 1) await fetch(channel.url, { method: "POST", headers: type, body: batch });
      const connection = await Connection.open(server);
      t.after(() => connection.close());
      connection.pause();
      await connection.write(request(server, `${channel.path}?offset=-1`));
      assert.equal((await curl(`${server.url}/healthz`)).status, 200);
      const began = Date.now();
      assert.equal(await server.stop(), 0);
      assert.ok(Date.now() - began < 4_000, `${Date.now() - began} ms`);
      connection.resume();
      const last = (await connection.end()).subarray(-5).toString();
      assert.notEqual(last, "0\r\n\r\n", "what was cut does not look whole");
    });
  }

  test("a server that was stopped can be started again at the same address at once", async (t) => {
    let listen = "127.0.0.1:0";
    for (let life = 0; life < 3; life += 1) {
      const server = await startServer({ listen });
      t.after(() => server.stop());
      listen = server.host;
      const socket = new WebSocket(new Channel(server).ws);
      const closed = once(socket, "close");
      await soon(once(socket, "open"), "a WebSocket");
      assert.equal(await server.stop(), 0);
      await closed;
    }
  });
});
