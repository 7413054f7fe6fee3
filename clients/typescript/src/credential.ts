/** When a token ends, and when the next one is fetched. Times are Unix milliseconds. */

/**
 * The `exp` of a JWT; `Infinity` if the token is no JWT, or seems to be over: then this clock is wrong, and the server
 * has the last word.
 */
export function expiryOf(token: string, now: number): number {
  try {
    const payload = token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/");
    const { exp } = JSON.parse(atob(payload)) as { readonly exp: number };
    const expiresAt = exp * 1000;
    return expiresAt > now ? expiresAt : Infinity;
  } catch {
    return Infinity;
  }
}

/** When to fetch the token that follows one that ends at `expiresAt`. */
export function refreshAt(expiresAt: number, now: number, leadMs: number): number {
  // A token that lives shorter than the lead, or seems to since this clock is ahead, would be fetched without end.
  return Math.max(now + REFRESH_MS_MIN, expiresAt - Math.min(leadMs, (expiresAt - now) / 2));
}

const REFRESH_MS_MIN = 1_000;
