// Writes `dist/`: the types, and one file with everything in it, as small as it gets.
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";

/**
 * Names of properties that no user, server or platform ever sees. They are shortened; `#private` names and variables
 * are anyway. A name belongs here if it is used only between files of `src`.
 */
export const OWN = [
  // of a line's life, and of its shell
  ...["afterMs", "deadline", "expiresAt", "heardAt", "heartbeatMs", "link", "more", "ordered", "pinged", "proven", "refreshAt"],
  ...["replyBy", "rest", "since", "trial", "handle", "wakeAt", "authenticate", "fetchToken", "finish", "ping", "resume", "suspend"],
  // of wires
  ...["ending", "onEnded", "onMessage", "query"],
  // of channels, their subscriptions, readers and presence
  ...["answer", "ask", "await", "before", "began", "change", "command", "cursor", "forget", "hears", "left", "lost", "newKey"],
  ...["onEnd", "onLeft", "onLost", "onOpen", "onTaken", "refused", "settle", "settings", "waiting"],
  // of the outbox, and of emitters
  ...["attempt", "dropLongest", "expire", "flush", "sent", "what", "emit", "listening"],
];

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.chdir(fileURLToPath(new URL(".", import.meta.url)));
  // A test that was removed would live on in `build`.
  for (const folder of ["dist", "build"]) rmSync(folder, { recursive: true, force: true });
  execFileSync("node_modules/.bin/tsc", ["-p", "."], { stdio: "inherit" });
  await build({
    entryPoints: ["src/index.ts"],
    outfile: "dist/index.js",
    bundle: true,
    minify: true,
    sourcemap: true,
    format: "esm",
    target: "es2022",
    mangleProps: new RegExp(`^(${OWN.join("|")})$`),
  });
  // Names what is used often, and drops what is said twice: 180 bytes less than esbuild alone, gzipped.
  const [file, map] = ["dist/index.js", "dist/index.js.map"];
  const small = await minify(readFileSync(file, "utf8"), {
    module: true,
    ecma: 2022,
    compress: { passes: 3, pure_getters: true, unsafe_arrows: true },
    sourceMap: { content: readFileSync(map, "utf8"), url: "index.js.map" },
  });
  writeFileSync(file, `${small.code}\n`);
  writeFileSync(map, small.map);
}
