// The server gets its certificate by itself, from an authority that truly looks whether the names lead to it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { statSync, writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { X509Certificate } from "node:crypto";
import { binary } from "../server.mjs";
import { authority, EXTERNAL } from "./pebble.mjs";
import { site } from "./site.mjs";

const DAY_MS = 24 * 60 * 60 * 1000;
const ISSUED = 'acme_orders_total{outcome="issued"}';
const REFUSED = 'acme_orders_total{outcome="refused"}';
const UNREACHABLE = 'acme_orders_total{outcome="unreachable"}';

/** An authority that runs, and a place for a server that it looks at. */
async function both(t, options = {}) {
  const place = await site(t);
  const ca = await authority(t, { port: place.port, ...options });
  await ca.start();
  return { place, ca };
}

describe("a certificate", { concurrency: 2 }, () => {
  test("is issued for all names, stored for the server alone, and found by the next start without asking", async (t) => {
    const { place, ca } = await both(t);
    const domains = ["live.example.org", "www.example.org", "127.0.0.1"];
    const server = await place.start(ca, { domains, acme: { contact: ["admin@example.org"] } });
    // It serves before there is one.
    assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
    await server.metric(ISSUED);
    const certificate = place.certificate();
    const names = certificate.subjectAltName.split(", ").map((name) => name.split(":")[1]);
    assert.deepEqual(new Set(names), new Set(domains));
    for (const name of ["account.json", "certificate.pem"]) {
      assert.equal(statSync(place.path(name)).mode & 0o777, 0o600, name);
    }
    assert.equal(statSync(place.path("")).mode & 0o777, 0o700);
    const expires = await server.metric("acme_expires_timestamp_seconds");
    assert.equal(expires * 1000, Date.parse(certificate.validTo));
    // Its challenges are over.
    assert.equal((await fetch(`${server.url}/.well-known/acme-challenge/x`)).status, 404);
    assert.ok(!server.output().includes("PRIVATE KEY"));

    assert.equal(await server.stop(), 0);
    await ca.stop();
    const next = await place.start(ca, { domains });
    await next.logged("the stored certificate is used");
    assert.equal(await next.metric("acme_expires_timestamp_seconds"), expires);
    assert.equal(place.certificate().fingerprint256, certificate.fingerprint256);
  });

  test("is renewed when a third of its life is left, by the same account, and only once", async (t) => {
    const { place, ca } = await both(t);
    const domains = ["live.example.org"];
    const first = await place.start(ca, { domains });
    await first.metric(ISSUED);
    const [before, account] = [place.certificate(), place.kept("account.json")];
    await first.stop();

    const early = await place.start(ca, { domains, daysAhead: 55 });
    await early.logged("the stored certificate is used");
    await early.stop();
    assert.equal(place.certificate().fingerprint256, before.fingerprint256);

    const due = await place.start(ca, { domains, daysAhead: 61 });
    await due.metric(ISSUED);
    assert.notEqual(place.certificate().fingerprint256, before.fingerprint256);
    assert.equal(place.kept("account.json"), account);
    // What was issued is as old as the old one by the server's clock. It is not renewed at once all the same.
    await due.stop();
    assert.equal(due.output().split("a certificate was issued").length, 2);
  });

  test("that could not be renewed stays in use, and its end is warned of the louder the nearer it is", async (t) => {
    const { place, ca } = await both(t);
    const domains = ["live.example.org"];
    const first = await place.start(ca, { domains });
    await first.metric(ISSUED);
    const before = place.kept("certificate.pem");
    await first.stop();
    await ca.stop();
    for (const [daysAhead, level, message] of [
      [61, "WARN", "the one in use lasts for now"],
      [85, "ERROR", "expires soon"],
      [91, "ERROR", "no certificate could be got"],
    ]) {
      const server = await place.start(ca, { domains, daysAhead });
      const line = await server.logged(message);
      assert.equal(line.level, level, message);
      assert.match(line.error, /no connection to 127\.0\.0\.1/);
      assert.ok(line.retry_s >= 30, `${line.retry_s}`);
      await server.metric(UNREACHABLE);
      await server.stop();
      assert.equal(place.kept("certificate.pem"), before);
    }
  });

  test("is got once the authority can be reached, whatever the number of attempts before", async (t) => {
    const place = await site(t);
    const ca = await authority(t, { port: place.port });
    const domains = ["live.example.org"];
    for (let start = 0; start < 2; start += 1) {
      const server = await place.start(ca, { domains });
      await server.metric(UNREACHABLE);
      assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
      await server.stop();
    }
    assert.ok(place.has("trouble.json"));
    await ca.start();
    const server = await place.start(ca, { domains });
    await server.metric(ISSUED);
    assert.ok(!place.has("trouble.json"));
  });

  test("is asked for anew when the stored one is broken, or is not for all names", async (t) => {
    const { place, ca } = await both(t);
    const first = await place.start(ca, { domains: ["live.example.org"] });
    await first.metric(ISSUED);
    await first.stop();
    writeFileSync(place.path("certificate.pem"), place.kept("certificate.pem").slice(0, 700));
    const second = await place.start(ca, { domains: ["live.example.org"] });
    await second.logged("the stored certificate is none");
    await second.metric(ISSUED);
    await second.stop();
    const third = await place.start(ca, { domains: ["live.example.org", "more.example.org"] });
    await third.logged("is not for all of acme.domains");
    await third.metric(ISSUED);
    assert.match(place.certificate().subjectAltName, /more\.example\.org/);
  });
});

describe("a folder that cannot hold what an order brings", { concurrency: 2 }, () => {
  test("has nothing ordered, however often the server is started, and says so once", async (t) => {
    const { place, ca } = await both(t);
    const domains = ["live.example.org"];
    for (let start = 0; start < 4; start += 1) {
      const server = await place.start(ca, { domains, fileKib: 32 });
      await server.metric('acme_orders_total{outcome="no-room"}');
      const line = await server.logged("no certificate could be got");
      assert.match(line.error, /nothing was ordered, since it could not be kept: .*acme\.storage/);
      assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
      await server.stop();
      assert.equal(server.output().split("no certificate could be got").length, 2);
    }
    assert.ok(!ca.output().includes("POST /"), "the authority was asked");
    assert.deepEqual(place.files(), ["lock"]);
    const server = await place.start(ca, { domains });
    await server.metric(ISSUED);
    assert.deepEqual(place.files(), ["account.json", "certificate.pem", "lock"]);
  });

  test("has a process that is killed on the way order four times in an hour at most", async (t) => {
    const { place, ca } = await both(t);
    const directory = await ca.front(
      (own) => ({ newOrder: `${own}/order` }),
      () => {}, // It never answers.
    );
    const options = { domains: ["live.example.org"], acme: { directory } };
    for (let start = 0; start < 4; start += 1) {
      const server = await place.start(ca, options);
      while (JSON.parse(place.keptOr("trouble.json", "{}")).refused_at_s?.length !== start + 1) await pause();
      await server.stop("SIGKILL");
    }
    const server = await place.start(ca, options);
    assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
    await server.stop();
    assert.equal(JSON.parse(place.kept("trouble.json")).refused_at_s.length, 4);
  });
});

// A disk that does not answer, as a share of a network that is gone: a pipe in place of a file is read for ever.
test("a keeper that a disk keeps waiting has the server neither ready nor well", async (t) => {
  const place = await site(t);
  const ca = await authority(t, { port: place.port });
  const variables = { EVERWIRE_HEALTH__LATE_MS: "2000", EVERWIRE_HEALTH__STUCK_MS: "4000" };
  const server = await place.start(ca, { domains: ["live.example.org"], variables });
  await server.metric(UNREACHABLE);
  const asked = async (path) => {
    const response = await fetch(`${server.url}${path}`);
    return `${response.status} ${await response.text()}`;
  };
  assert.match(await asked("/readyz"), /^200 /);
  assert.match(await asked("/healthz"), /^200 /);
  // Before the next attempt it looks whether another process has got a certificate.
  execFileSync("mkfifo", [place.path("certificate.pem")]);
  while ((await asked("/readyz")).startsWith("200")) await pause();
  assert.match(await asked("/readyz"), /^503 late: certificate/);
  while ((await asked("/healthz")).startsWith("200")) await pause();
  assert.match(await asked("/healthz"), /^503 .*: certificate/);
  assert.match(await (await fetch(`${server.url}/metrics`)).text(), /everwire_part_owes_seconds\{part="certificate"\} [1-9]/);
  // Somebody writes at last: what comes is no certificate, and the keeper goes on.
  writeFileSync(place.path("certificate.pem"), "");
  while (!(await asked("/readyz")).startsWith("200")) await pause();
  assert.match(await asked("/healthz"), /^200 /);
});

const pause = () => new Promise((passed) => setTimeout(passed, 20));

describe("an authority", { concurrency: 2 }, () => {
  test("that finds nobody behind a name is left alone for a while, and says why", async (t) => {
    const { place, ca } = await both(t);
    const server = await place.start(ca, { domains: ["live.example.org", "a.elsewhere.example"] });
    const line = await server.logged("no certificate could be got");
    assert.match(line.error, /a\.elsewhere\.example: .*127\.0\.0\.2/);
    assert.match(line.error, /clear text at port 80/);
    assert.ok(line.retry_s >= 300, `${line.retry_s}`);
    await server.metric(REFUSED);
    assert.ok(!place.has("certificate.pem"));
  });

  test("that refuses a name is quoted", async (t) => {
    const { place, ca } = await both(t);
    const server = await place.start(ca, { domains: ["blocked.example"] });
    const line = await server.logged("no certificate could be got");
    assert.match(line.error, /rejectedIdentifier/);
    await server.metric(REFUSED);
  });

  test("that is asked again and again by new starts is asked four times in an hour at most", async (t) => {
    const { place, ca } = await both(t);
    const attempts = async () => {
      const server = await place.start(ca, { domains: ["blocked.example"] });
      await server.metric(REFUSED);
      await server.stop();
    };
    for (let start = 0; start < 4; start += 1) await attempts();
    const asked = ca.output().split("POST /order-plz").length;
    const server = await place.start(ca, { domains: ["blocked.example"] });
    assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
    await server.stop();
    assert.equal(ca.output().split("POST /order-plz").length, asked);
  });

  test("that has forgotten the account is registered at again", async (t) => {
    const { place, ca } = await both(t);
    const first = await place.start(ca, { domains: ["live.example.org"] });
    await first.metric(ISSUED);
    const account = place.kept("account.json");
    await first.stop();
    await ca.stop();
    await ca.start();
    const second = await place.start(ca, { domains: ["live.example.org"], daysAhead: 61 });
    await second.logged("does not take the stored account any more");
    await second.metric(ISSUED);
    assert.notEqual(place.kept("account.json"), account);
    assert.equal(place.kept("account.json.refused"), account);
  });

  test("that says when to come back is left alone until then", async (t) => {
    const { place, ca } = await both(t);
    const problem = { type: "urn:ietf:params:acme:error:rateLimited", detail: "too many certificates", status: 429 };
    const directory = await ca.front(
      (own) => ({ newOrder: `${own}/order` }),
      (_, response) => {
        response.writeHead(429, { "retry-after": "7200", "content-type": "application/problem+json" });
        response.end(JSON.stringify(problem));
      },
    );
    const server = await place.start(ca, { domains: ["live.example.org"], acme: { directory } });
    const line = await server.logged("no certificate could be got");
    assert.match(line.error, /too many certificates \(rateLimited\)/);
    assert.ok(line.retry_s >= 7200 && line.retry_s <= 9000, `${line.retry_s}`);
    await server.metric('acme_orders_total{outcome="told-to-wait"}');
  });

  test("that wants a certificate renewed before its time is heard", async (t) => {
    const { place, ca } = await both(t);
    let asked;
    const directory = await ca.front(
      (own) => ({ renewalInfo: `${own}/renewal` }),
      ({ url }, response) => {
        asked = url;
        const [start, end] = [2, 1].map((days) => new Date(Date.now() - days * DAY_MS).toISOString());
        response.writeHead(200, { "retry-after": "21600", "content-type": "application/json" });
        response.end(JSON.stringify({ suggestedWindow: { start, end } }));
      },
    );
    const options = { domains: ["live.example.org"], acme: { directory } };
    const first = await place.start(ca, options);
    await first.metric(ISSUED);
    const before = place.certificate();
    await first.stop();
    const second = await place.start(ca, options);
    await second.metric(ISSUED);
    assert.match(asked, /^\/renewal\/[\w-]+\.[\w-]+$/);
    assert.notEqual(place.certificate().fingerprint256, before.fingerprint256);
  });

  test("that asks for an external account is shown its key, and says so without one", async (t) => {
    const { place, ca } = await both(t, { external: true });
    const without = await place.start(ca, { domains: ["live.example.org"] });
    const line = await without.logged("no certificate could be got");
    assert.match(line.error, /registered no account: .*externalAccount/);
    await without.stop();
    writeFileSync(`${ca.caFile}.hmac`, `${EXTERNAL.hmac}\n`);
    const acme = { external_account_kid: EXTERNAL.kid, external_account_hmac_file: `${ca.caFile}.hmac` };
    const server = await place.start(ca, { domains: ["live.example.org"], acme });
    await server.metric(ISSUED);
    assert.ok(!server.output().includes(EXTERNAL.hmac));
  });
});

describe("by TLS itself", { concurrency: 2 }, () => {
  test("names are verified, and clients see what was issued", async (t) => {
    const { place, ca } = await both(t);
    const acme = { challenge: "tls-alpn-01" };
    const server = await place.start(ca, { domains: ["live.example.org", "127.0.0.1"], acme, tls: "only" });
    await server.logged("a certificate was issued");
    const root = `${ca.caFile}.root`;
    writeFileSync(root, await ca.root());
    const curl = (host, ...more) =>
      execFileSync("curl", ["-s", "-f", "--cacert", root, "--connect-to", `${host}:443:127.0.0.1:${place.port}`, ...more,
        `https://${host}/healthz`], { encoding: "utf8" });
    assert.equal(curl("live.example.org"), "ok\n");
    assert.equal(curl("live.example.org", "--http1.1"), "ok\n");
    // Who asks by address names no host (RFC 6066, section 3), and is shown it all the same.
    assert.equal(curl("127.0.0.1"), "ok\n");
    // It answers in clear text that it speaks TLS, and so it is well.
    const env = { PATH: process.env.PATH, EVERWIRE_LISTEN: `127.0.0.1:${place.port}` };
    execFileSync(binary(), ["health"], { env });
  });

  test("handshakes fail until there is a certificate, and then they do not", async (t) => {
    const place = await site(t);
    const ca = await authority(t, { port: place.port });
    const options = { domains: ["live.example.org"], acme: { challenge: "tls-alpn-01" }, tls: "both" };
    const server = await place.start(ca, options);
    await server.logged("there is no certificate yet; TLS handshakes fail until the authority has issued one");
    const shown = () =>
      new Promise((done) => {
        const socket = connectTls({ port: place.port, host: "127.0.0.1", servername: "live.example.org", rejectUnauthorized: false });
        socket.on("secureConnect", () => (done(socket.getPeerX509Certificate().fingerprint256), socket.destroy()));
        socket.on("error", (error) => done(error.code));
      });
    assert.match(await shown(), /^ERR_SSL_.*ALERT/);
    assert.equal(Number(await server.metric('tls_handshakes_failed_total{reason="no_certificate"}')), 1);
    await server.stop();
    await ca.start();
    const next = await place.start(ca, options);
    await next.metric(ISSUED);
    assert.equal(await shown(), place.certificate().fingerprint256);
  });
});

test("what was issued is from the authority that was asked", async (t) => {
  const { place, ca } = await both(t);
  const server = await place.start(ca, { domains: ["live.example.org"] });
  await server.metric(ISSUED);
  const chain = place.kept("certificate.pem").match(/-----BEGIN CERTIFICATE-----[^]+?-----END CERTIFICATE-----/g);
  const [own, issuer] = chain.map((pem) => new X509Certificate(pem));
  const root = new X509Certificate(await ca.root());
  assert.ok(own.verify(issuer.publicKey) && issuer.verify(root.publicKey));
  assert.ok(Date.parse(own.validTo) - Date.now() > 89 * DAY_MS);
});
