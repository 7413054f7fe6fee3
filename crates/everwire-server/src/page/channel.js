/** What all channels are below: this file is in the folder beside it, also where the server shares a host. */
export const ROOT = new URL('../channels/', import.meta.url);

/** A channel as an address: its name is the path below `/channels/`. */
export class Channel {
  constructor(name) {
    this.name = name;
    // An apostrophe would end the quotes of the lines that people copy into a shell.
    const path = name.split('/').map(encodeURIComponent).join('/').replaceAll("'", '%27');
    this.#base = ROOT.href + path;
  }

  #base;

  /** The channel's URL with these parameters; those without a value are left out. */
  url(parameters = {}) {
    const query = Object.entries(parameters).filter(([, value]) => value != null);
    return query.length === 0 ? this.#base : `${this.#base}?${new URLSearchParams(query)}`;
  }

  /** The same for a WebSocket. */
  socketUrl(parameters) {
    return this.url(parameters).replace(/^http/, 'ws');
  }

  /**
   * Where the log ends now.
   *
   * Asked as a long poll that waits for nothing: a live read makes a channel that is not there yet.
   */
  async tail() {
    const url = this.url({ offset: 'now', live: 'long-poll' });
    const response = await fetch(url, { headers: { Prefer: 'wait=0' }, cache: 'no-store' });
    const offset = response.headers.get('Stream-Next-Offset');
    if (response.ok && offset !== null) return offset;
    const { detail } = await response.json().catch(() => ({}));
    throw new Error(detail ?? `the server answered ${response.status}`);
  }
}
