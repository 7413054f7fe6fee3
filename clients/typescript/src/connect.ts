/** Where a program begins. */
import { Line } from "./line.js";
import { type ConnectOptions, environmentOf, withDefaults } from "./settings.js";

/**
 * Opens a line to the server at `url`, and keeps it open until `line.close()`.
 *
 * @param url the server's address, such as `https://example.org`; `/connect` is added to it
 */
export function connect(url: string, options: ConnectOptions = {}): Line {
  const environment = environmentOf(options.environment);
  return new Line(url, withDefaults(options, environment), environment, options);
}
