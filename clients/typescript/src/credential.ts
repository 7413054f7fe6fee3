/** What the line knows of its token. The token itself stays out of the state, so that logs of states hold no secrets. */
export type Credential =
  /** No token is used. */
  | { readonly state: "none" }
  /** One has to be fetched before the next attempt. */
  | { readonly state: "wanted" }
  /** One is held, until the time `expiresAt` (Unix milliseconds) if that is known. */
  | { readonly state: "held"; readonly expiresAt: number | null };

/** Whether a token has to be fetched before a wire is opened. */
export function needsToken(credential: Credential, now: number): boolean {
  return (
    credential.state === "wanted" ||
    (credential.state === "held" && credential.expiresAt !== null && credential.expiresAt <= now)
  );
}

/** When to fetch the next token, or `null` if only a refusal will tell. */
export function refreshAt(credential: Credential, now: number, leadMs: number): number | null {
  if (credential.state !== "held" || credential.expiresAt === null) return null;
  // A token that lives shorter than the lead would be fetched without end.
  return credential.expiresAt - Math.min(leadMs, (credential.expiresAt - now) / 2);
}

/**
 * The `exp` of a JWT in Unix milliseconds; `null` if the token is no JWT, or seems to be over: then this clock is
 * wrong, and the server has the last word.
 */
export function expiryOf(token: string, now: number): number | null {
  try {
    const payload = (token.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/");
    const exp: unknown = JSON.parse(atob(payload)).exp;
    return typeof exp === "number" && exp * 1000 > now ? exp * 1000 : null;
  } catch {
    return null;
  }
}
