// Content codings as common clients speak them: curl, Node's fetch, Python's urllib.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { brotliCompressSync, brotliDecompressSync, gunzipSync, gzipSync } from "node:zlib";
import { startServer } from "../server.mjs";
import { Channel } from "./channel.mjs";
import { curl } from "./curl.mjs";

const ENTRIES = Array.from({ length: 500 }, (_, number) => ({ number, text: "hello, everybody in here" }));
const JSON_TYPE = { "content-type": "application/json" };

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

/** A channel with all entries. */
async function full() {
  const channel = new Channel(server);
  await channel.publish(ENTRIES);
  return channel;
}

/** What a Python program prints. */
async function python(program, ...args) {
  const child = spawn("python3", ["-c", program, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (chunk) => (said += chunk));
  assert.equal(await new Promise((ended) => child.on("close", ended)), 0);
  return said;
}

describe("pages", () => {
  for (const version of ["--http1.1", "--http2-prior-knowledge"]) {
    test(`curl --compressed ${version} reads what curl reads`, async () => {
      const { url } = await full();
      const plain = await curl(version, url);
      const page = await curl(version, "--compressed", url);
      assert.ok(["br", "gzip"].includes(page.headers["content-encoding"]), page.headers["content-encoding"]);
      assert.deepEqual(page.body, plain.body);
      assert.ok(Number(page.headers["content-length"]) < plain.body.length / 5, page.headers["content-length"]);
      assert.match(page.headers.vary, /accept-encoding/);
    });

    for (const [coding, decode] of [["gzip", gunzipSync], ["br", brotliDecompressSync]]) {
      test(`${coding} over ${version} is what others can unpack, and has a tag to ask by`, async () => {
        const { url } = await full();
        const asked = [version, "-H", `accept-encoding: ${coding}`, url];
        const page = await curl(...asked);
        assert.equal(page.headers["content-encoding"], coding);
        assert.equal(Number(page.headers["content-length"]), page.body.length);
        assert.deepEqual(JSON.parse(decode(page.body)), ENTRIES);
        const again = await curl("-H", `if-none-match: ${page.headers.etag}`, ...asked);
        assert.deepEqual([again.status, again.body.length, again.headers.etag], [304, 0, page.headers.etag]);
        const uncoded = await curl(version, "-H", `if-none-match: ${page.headers.etag}`, url);
        assert.deepEqual([uncoded.status, JSON.parse(uncoded.body)], [200, ENTRIES]);
      });
    }
  }

  test("fetch reads them without being told", async () => {
    const { url } = await full();
    const page = await fetch(url);
    assert.ok(page.headers.get("content-encoding"), "it is compressed");
    assert.deepEqual(await page.json(), ENTRIES);
  });

  test("Python reads gzip", async () => {
    const { url } = await full();
    const program = `
import gzip, json, sys, urllib.request
asked = urllib.request.Request(sys.argv[1], headers={"Accept-Encoding": "gzip"})
with urllib.request.urlopen(asked) as answer:
    assert answer.headers["Content-Encoding"] == "gzip", answer.headers
    print(len(json.loads(gzip.decompress(answer.read()))))
`;
    assert.equal(await python(program, url), `${ENTRIES.length}\n`);
  });
});

describe("contents", () => {
  for (const [coding, encode] of [["gzip", gzipSync], ["br", brotliCompressSync]]) {
    test(`fetch publishes in ${coding}`, async () => {
      const { url } = new Channel(server);
      const headers = { ...JSON_TYPE, "content-encoding": coding };
      const answer = await fetch(url, { method: "POST", headers, body: encode(JSON.stringify(ENTRIES)) });
      assert.equal(answer.status, 204, await answer.text());
      assert.deepEqual(await (await fetch(url)).json(), ENTRIES);
    });
  }

  test("Python publishes in gzip, in chunks as well", async () => {
    const { url } = new Channel(server);
    const program = `
import gzip, http.client, json, sys, urllib.parse
url = urllib.parse.urlparse(sys.argv[1])
content = gzip.compress(json.dumps([{"n": n} for n in range(1000)]).encode())
for body in [content, iter([content[:100], content[100:]])]:
    asked = http.client.HTTPConnection(url.netloc)
    fields = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    asked.request("POST", url.path, body, fields, encode_chunked=not isinstance(body, bytes))
    print(asked.getresponse().status)
`;
    assert.equal(await python(program, url), "204\n204\n");
    assert.equal((await (await fetch(url)).json()).length, 2000);
  });

  test("what is in no coding that is taken is told which are", async () => {
    const { url } = new Channel(server);
    const refused = await curl("-H", "content-encoding: zstd", "-d", "hello", url);
    assert.deepEqual([refused.status, refused.headers["accept-encoding"]], [415, "gzip, br"]);
    assert.match(JSON.parse(refused.body).detail, /gzip or br/);
  });
});
