// Decides for Everwire: who a caller is, and what may be published. Run: node application.mjs PORT PUBLIC_KEY.pem
import { createServer } from "node:http";
import { verify } from "node:crypto";
import { readFileSync } from "node:fs";

const [port, keyFile] = process.argv.slice(2);
const key = readFileSync(keyFile);
const users = { "sid=1": "ada" }; // your sessions

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const signed = Object.fromEntries((request.headers["everwire-signature"] ?? "").split(",").map((part) => part.split("=")));
  const isFresh = Math.abs(Date.now() / 1000 - signed.t) < 300;
  const message = Buffer.concat([Buffer.from(`${signed.t}.`), body]);
  const isOurs = isFresh && verify(null, message, key, Buffer.from(signed.ed25519 ?? "", "hex"));
  const answer = isOurs ? decide(JSON.parse(body)) : undefined;
  response.writeHead(answer ? 200 : 401).end(JSON.stringify(answer));
}).listen(Number(port), "127.0.0.1");

function decide({ question, headers, entries }) {
  const sub = users[headers.cookie];
  if (question === "connect" && sub) return { allow: true, sub, channels: [{ match: "chat/*", can: ["read", "presence"] }], cache_s: 60 };
  if (question === "publish" && sub) return { allow: true, entries: entries.map(({ data }) => ({ data: data === "rude" ? "***" : data })) };
  return { allow: false, reason: "log in first" };
}
