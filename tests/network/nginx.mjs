// Debian's nginx in front of the server, on a free loopback port.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The first block of `language` after `heading` in docs/operations.md. */
export function documented(heading, language) {
  const text = readFileSync(new URL("../../docs/operations.md", import.meta.url), "utf8");
  const block = text.split(`\n${heading}\n`)[1]?.split(`\`\`\`${language}\n`)[1]?.split("```")[0];
  if (!block) throw new Error(`docs/operations.md has no ${language} under ${heading}`);
  return block;
}

/** What somebody writes who only wants it to lead to the server, and whatever nginx does then. */
export function naive(more = "") {
  return `server {\n  listen 127.0.0.1:443;\n  location / {\n    proxy_pass http://127.0.0.1:8080;\n    ${more}\n  }\n}\n`;
}

/**
 * Runs nginx until the test ends, with `sites` in its `http` block, or in its `stream` block: where these say port 443 it
 * listens on a free one, in clear text, and where they say 127.0.0.1:8080 it leads to `server`. Gives its URL.
 */
export async function startNginx(t, server, sites, block = "http") {
  const folder = mkdtempSync(join(tmpdir(), "everwire-nginx-"));
  // Its workers are another user, if it is started by root, and put large contents there.
  chmodSync(folder, 0o711);
  const port = await freePort();
  const configured = sites.replace(/listen .*443( ssl)?;/, `listen 127.0.0.1:${port};`).replaceAll("127.0.0.1:8080", server.host);
  writeFileSync(join(folder, "nginx.conf"), configuration(configured, block));

  const child = spawn("nginx", ["-p", folder, "-c", "nginx.conf", "-e", "stderr"], { stdio: ["ignore", "ignore", "pipe"] });
  let output = "";
  child.stderr.setEncoding("utf8").on("data", (chunk) => (output += chunk));
  t.after(async () => {
    child.kill("SIGTERM");
    if (child.exitCode === null) await once(child, "exit");
    rmSync(folder, { recursive: true });
  });
  while (!(await listens(port))) {
    if (child.exitCode !== null) throw new Error(`nginx did not start:\n${output}`);
    await new Promise((passed) => setTimeout(passed, 10));
  }
  return `http://127.0.0.1:${port}`;
}

function configuration(sites, block) {
  if (block === "stream") return `load_module ${STREAM_MODULE};\n${START}stream {\n${sites}\n}\n`;
  const own = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `  ${name}_temp_path ${name};`);
  return `${START}http {
  access_log off;
${own.join("\n")}
${sites}
}
`;
}

const START = `daemon off;
pid nginx.pid;
worker_processes 1;
events { worker_connections 256; }
`;

/** Where Debian's package libnginx-mod-stream puts what passes on connections instead of requests. */
const STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so";

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

function listens(port) {
  return new Promise((known) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => known(true) || socket.destroy());
    socket.on("error", () => known(false));
  });
}
