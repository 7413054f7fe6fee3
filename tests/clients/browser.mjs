// The system's Chromium without a window, driven by playwright-core.

import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

// Chromium calls home unless it is told not to; a test talks to nobody but the server.
const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-domain-reliability",
  "--no-pings",
];

export const executable = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
  (path) => path && existsSync(path),
);

export function launch() {
  if (!executable) throw new Error("no Chromium found; install it (`apt-get install chromium`) or name one in CHROMIUM");
  return chromium.launch({ executablePath: executable, headless: true, args: ARGS });
}
