/** Where a program begins. */
import { Line } from "./line.js";
import { type ConnectOptions, environmentOf, withDefaults } from "./settings.js";

/**
 * Opens a line to the server at `url`, and keeps it open until `line.close()`.
 *
 * @param url the server's address, such as `https://example.org`, or on a page a path of its own server, such as `/`;
 *   `/connect` is added to it. `wss:` is taken as `https:`, and `ws:` as `http:`
 * @throws {TypeError} at once, if it is no such address
 */
export function connect(url: string | URL, options: ConnectOptions = {}): Line {
  const environment = environmentOf(options.environment);
  return new Line(addressOf(url), withDefaults(options, environment), environment, options);
}

/** The address without a slash at its end. */
function addressOf(url: string | URL): string {
  // Nothing at all would be the page itself.
  const { href } = new URL(url || "?", globalThis.location as unknown as URL | undefined);
  // What has a query or a user cannot be added to.
  if (!/^(http|ws)s?:[^?#@]+$/.test(href)) throw new TypeError(`${url} is no address`);
  return href.replace(/^ws/, "http").replace(/\/+$/, "");
}
