// TLS as clients see it that nobody here wrote: curl, npm `ws`, OpenSSL and Chromium, on the certificate that `--dev` makes.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect as connectTls } from "node:tls";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { startServer } from "../server.mjs";
import { launch } from "./browser.mjs";
import { curl, curlStream } from "./curl.mjs";
import { Inbox, soon } from "./inbox.mjs";

const CONFIG = `
[tls]
mode = "only"
hsts_s = 600
`;

let server, ca, browser;
before(async () => {
  server = await startServer({ config: CONFIG });
  ca = server.certificate;
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Runs `openssl s_client` with nothing to say: its exit code and all that it says. */
async function openssl(...args) {
  const child = spawn("openssl", ["s_client", "-connect", server.host, "-CAfile", ca, "-verify_return_error", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (said += chunk));
  const code = await soon(new Promise((ended) => child.on("close", ended)), "the end of openssl");
  return { code, said };
}

describe("curl", () => {
  test("reads by HTTP/1.1 and HTTP/2, as is agreed upon", async () => {
    for (const [flag, version] of [["--http1.1", "HTTP/1.1"], ["--http2", "HTTP/2"]]) {
      const posted = await curl("--cacert", ca, flag, "-d", "{}", `${server.url}/channels/curl`);
      assert.equal(posted.status, 204);
      assert.equal(posted.version, version);
      assert.equal(posted.headers["strict-transport-security"], "max-age=600");
    }
  });

  test("is sent streams, and resumes over another protocol", async () => {
    await curl("--cacert", ca, "-H", "content-type: text/plain", "-d", "one", `${server.url}/channels/streams`);
    for (const flag of ["--http1.1", "--http2"]) {
      const stream = curlStream("--cacert", ca, flag, "-H", "accept: application/x-ndjson", `${server.url}/channels/streams?offset=-1`);
      assert.equal(JSON.parse(await stream.lines.next("the first entry")).data, "one");
      await stream.stop();
    }
  });

  test("is told by clear text what is spoken here", async () => {
    const refused = await curl(`http://${server.host}/healthz`);
    assert.equal(refused.status, 400);
    assert.match(refused.body.toString(), /https:/);
  });

  test("does not believe a certificate that it was not told to", async () => {
    await assert.rejects(curl(`${server.url}/healthz`), /ended with 60/);
  });
});

describe("ws", () => {
  test("echoes what is large and what is many", async () => {
    const socket = new WebSocket(`wss://${server.host}/echo`, { ca: readFileSync(ca) });
    const messages = new Inbox();
    socket.on("message", (data) => messages.put(data.length));
    await soon(new Promise((opened, failed) => socket.on("open", opened).on("error", failed)), "the opening handshake");
    const sizes = [0, 1, 125, 16_383, 16_384, 16_385, 70_000, 1_000_000, 3];
    for (const size of sizes) socket.send(Buffer.alloc(size, 7));
    for (const size of sizes) assert.equal(await messages.next(`${size} bytes`), size);
    const closed = new Promise((done) => socket.on("close", done));
    socket.close(1000);
    assert.equal(await soon(closed, "the closing handshake"), 1000);
  });

  test("has a session", async () => {
    const socket = new WebSocket(`wss://${server.host}/connect`, ["everwire.v1"], { ca: readFileSync(ca) });
    const messages = new Inbox();
    socket.on("message", (data) => messages.put(JSON.parse(data)));
    await soon(new Promise((opened, failed) => socket.on("open", opened).on("error", failed)), "the opening handshake");
    assert.equal((await messages.next("the welcome")).ev, "welcome");
    socket.terminate();
  });
});

describe("OpenSSL", () => {
  test("agrees on versions and protocols", async () => {
    for (const [args, expected] of [
      [["-tls1_3"], /TLSv1\.3/],
      [["-tls1_2"], /TLSv1\.2/],
      [["-alpn", "h2,http/1.1"], /ALPN protocol: h2/],
      [["-alpn", "http/1.1"], /ALPN protocol: http\/1\.1/],
    ]) {
      const { code, said } = await openssl(...args);
      assert.equal(code, 0, said);
      assert.match(said, expected);
      assert.match(said, /Verify return code: 0/);
    }
  });

  test("is refused what is too old", async () => {
    const { code, said } = await openssl("-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0");
    assert.notEqual(code, 0, said);
    assert.match(said, /alert (protocol version|handshake failure)|no protocols available/);
  });
});

describe("Node", () => {
  test("reads all that there is before the end, which it is told of", async () => {
    const socket = connectTls({ host: "127.0.0.1", port: new URL(server.url).port, ca: readFileSync(ca), servername: "localhost" });
    let said = "";
    socket.setEncoding("utf8").on("data", (chunk) => (said += chunk));
    socket.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    const ended = new Promise((done, failed) => socket.on("end", done).on("error", failed));
    await soon(ended, "close_notify");
    assert.match(said, /^HTTP\/1\.1 200 OK[^]*ok\n$/);
  });
});

describe("Chromium", () => {
  test("reads over every wire from a page of the server's own", async () => {
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    const page = await context.newPage();
    await page.goto(`${server.url}/healthz`);
    const seen = await page.evaluate(async () => {
      const path = "/channels/chromium";
      const headers = { "content-type": "application/json" };
      const posted = await fetch(path, { method: "POST", headers, body: '"hello"' });
      const [entry] = await fetch(`${path}?offset=-1`).then((answer) => answer.json());
      const websocket = await new Promise((done, failed) => {
        const socket = new WebSocket(`wss://${location.host}${path}?offset=-1`);
        socket.onmessage = ({ data }) => done(JSON.parse(data));
        socket.onclose = ({ code }) => failed(new Error(`closed with ${code}`));
      });
      const events = await new Promise((done) => {
        const source = new EventSource(`${path}?offset=-1`);
        source.onmessage = ({ data }) => {
          source.close();
          done(JSON.parse(data));
        };
      });
      const { nextHopProtocol } = performance.getEntriesByName(new URL(path, location).href)[0];
      return { posted: posted.status, entry, websocket, events, nextHopProtocol };
    });
    const expected = { posted: 204, entry: "hello", websocket: "hello", events: "hello", nextHopProtocol: "h2" };
    assert.deepEqual(seen, expected);
    await context.close();
  });
});
