// Behind nginx: as somebody sets it up who knows nothing of streams, and as docs/operations.md says.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { after, before, describe, test } from "node:test";
import { connect } from "../../clients/typescript/dist/index.js";
import { Inbox, soon } from "../clients/inbox.mjs";
import { WebSocket } from "../clients/websocket.mjs";
import { startServer } from "../server.mjs";
import { documented, naive, startNginx } from "./nginx.mjs";

const DOCUMENTED = documented("## A proxy in front", "nginx");
const GRANTED = '[channels]\nanonymous = ["read", "publish"]\n';
const WIRES = ["websocket", "event-stream", "ndjson", "long-poll"];

let server;
before(async () => (server = await startServer({ dev: false, config: documented("## A proxy in front", "toml") + GRANTED })));
after(() => server?.stop());

let channels = 0;

/** A client at `url` that reads a channel of its own: its line, the channel, and an inbox of what comes. */
function client(t, url, options = {}) {
  // What a wire that is swallowed costs is waited for in real time.
  const line = connect(url, { proveMs: 300, environment: { WebSocket }, ...options });
  t.after(() => line.close());
  const entries = new Inbox();
  const channel = line.channel(`nginx/${(channels += 1)}`);
  channel.on("entry", ({ data }) => entries.put(data));
  return { line, channel, entries };
}

/** Publishes through the client and reads all of it again. */
async function converses({ channel, entries }) {
  const numbers = Array.from({ length: 40 }, (_, index) => index);
  await soon(channel.publish("first"), "the answer to the first entry");
  await Promise.all(numbers.map((number) => channel.publish(number)));
  assert.deepEqual(await entries.take(41), ["first", ...numbers]);
}

describe("behind an nginx that knows nothing of streams", () => {
  for (const [what, more, wire] of [
    ["which refuses the upgrade, the client uses the event stream", "", "event-stream"],
    ["and buffers whatever it is told, the client uses the long poll", "proxy_ignore_headers X-Accel-Buffering;", "long-poll"],
  ]) {
    test(what, async (t) => {
      const reader = client(t, await startNginx(t, server, naive(more)));
      await converses(reader);
      assert.equal(reader.line.wire, wire);
    });
  }
});

describe("behind nginx as docs/operations.md has it", () => {
  test("the client uses the WebSocket", async (t) => {
    const reader = client(t, await startNginx(t, server, DOCUMENTED));
    await converses(reader);
    assert.equal(reader.line.wire, "websocket");
  });

  for (const wire of WIRES) {
    test(`${wire} gets through`, async (t) => {
      const reader = client(t, await startNginx(t, server, DOCUMENTED), { wires: [wire] });
      await converses(reader);
      assert.equal(reader.line.wire, wire);
    });
  }

  test("a page of its own origin may open a WebSocket, one of another may not", async (t) => {
    const url = await startNginx(t, server, DOCUMENTED);
    const opens = (origin) =>
      new Promise((known) => {
        const socket = new WebSocket(`${url.replace("http", "ws")}/connect`, ["everwire.v1"], { origin });
        socket.on("open", () => known(true) || socket.terminate());
        socket.on("error", () => known(false));
      });
    assert.equal(await opens(url), true);
    assert.equal(await opens("https://elsewhere.example"), false);
  });

  test("contents may be as large as the server takes them", async (t) => {
    const url = await startNginx(t, server, DOCUMENTED);
    const publish = (bytes) => fetch(`${url}/channels/nginx/large`, { method: "POST", headers: { "content-type": "text/plain" }, body: "x".repeat(bytes) });
    assert.equal((await publish(4_000_000)).status, 204);
  });

  test("what is for operators is not passed on", async (t) => {
    const url = await startNginx(t, server, DOCUMENTED);
    for (const path of ["/metrics", "/healthz", "/readyz"]) assert.equal((await fetch(url + path)).status, 404, path);
  });

  test("nginx waits longer than the server is silent", () => {
    const waits = Number(/proxy_read_timeout (\d+)s;/.exec(DOCUMENTED)[1]) * 1000;
    const settings = readFileSync(new URL("../../docs/configuration.md", import.meta.url), "utf8");
    for (const name of ["http.heartbeat_ms", "limits.long_poll_ms_max"]) {
      const silent = Number(settings.split(`### \`${name}\`\n\n\``)[1]?.split("`")[0]);
      assert.ok(silent > 0 && waits > silent, `${name} is ${silent} ms, and nginx waits ${waits} ms`);
    }
  });
});

// The server counts lines by client: each may have one.
describe("whoever is behind nginx", () => {
  const limited = (more = "") =>
    `${GRANTED}[http]\ntrusted_proxies = ["127.0.0.1"]\n${more}[limits]\nlines_per_address_max = 1\n`;

  /** The status with which a stream is answered that is asked for from another address of this machine. */
  function asks(t, url, localAddress, headers = {}) {
    return new Promise((known, failed) => {
      const asked = request(`${url}/channels/news`, { localAddress, headers: { accept: "text/event-stream", ...headers } });
      t.after(() => asked.destroy());
      asked.on("response", ({ statusCode }) => known(statusCode)).on("error", failed).end();
    });
  }

  for (const [what, config, sites, block] of [
    ["is named by X-Forwarded-For", limited(), DOCUMENTED, "http"],
    [
      "is named by the PROXY protocol",
      limited('proxy_protocol = "required"\n'),
      "server {\n  listen 127.0.0.1:443;\n  proxy_pass 127.0.0.1:8080;\n  proxy_protocol on;\n}\n",
      "stream",
    ],
  ]) {
    test(what, async (t) => {
      const limiting = await startServer({ dev: false, config });
      t.after(() => limiting.stop());
      const url = await startNginx(t, limiting, sites, block);
      assert.equal(await asks(t, url, "127.0.0.2"), 200);
      assert.equal(await asks(t, url, "127.0.0.2"), 429);
      assert.equal(await asks(t, url, "127.0.0.2", { "x-forwarded-for": "203.0.113.7" }), 429, "whatever it says itself");
      assert.equal(await asks(t, url, "127.0.0.3"), 200);
    });
  }
});
