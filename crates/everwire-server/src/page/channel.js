/** A channel as an address: its name is the path below `/channels/`. */
export class Channel {
  constructor(name, origin = location.origin) {
    this.name = name;
    this.#base = origin + '/channels/' + name.split('/').map(encodeURIComponent).join('/');
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

  /** Where the log ends now. A channel that nobody wrote to yet ends where it begins. */
  async tail() {
    const response = await fetch(this.url(), { method: 'HEAD', cache: 'no-store' });
    if (response.status === 404) return BEGINNING;
    const offset = response.headers.get('Stream-Next-Offset');
    if (!response.ok || offset === null) {
      throw new Error(`the server answered ${response.status} when asked where ${this.name} ends`);
    }
    return offset;
  }
}

/** The offset before the first entry. */
export const BEGINNING = '-1';
