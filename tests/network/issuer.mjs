// Whoever signs tokens for the clients of the scenarios, and takes them back.

import { createHash, createHmac, randomUUID } from "node:crypto";

const SECRET = "signs tokens of scenarios and nothing else";
const REVOKER = "ewk_scenarios_takes-tokens-back";

const sha256 = createHash("sha256").update(REVOKER).digest("hex");

/** What a server needs to take these tokens. */
export const ISSUER_CONFIG = `
[[tokens.keys]]
alg = "HS256"
secret = "${SECRET}"
[[keys]]
id = "scenarios"
sha256 = "${sha256}"
can = ["revoke"]
`;

export class Issuer {
  #made = [];

  /** A token that lives so long. */
  token(ms) {
    const jti = randomUUID();
    this.#made.push(jti);
    const now = Date.now() / 1000;
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const message = `${part({ alg: "HS256" })}.${part({ jti, sub: "ada", iat: now, exp: now + ms / 1000 })}`;
    return `${message}.${createHmac("sha256", SECRET).update(message).digest("base64url")}`;
  }

  /** Takes back all tokens that were made until now. */
  async revoke(url) {
    for (const jti of this.#made.splice(0)) {
      const headers = { authorization: `Bearer ${REVOKER}` };
      const answer = await fetch(`${url}/revocations`, { method: "POST", headers, body: JSON.stringify({ jti }) });
      if (!answer.ok) throw new Error(`a token could not be taken back: ${await answer.text()}`);
    }
  }
}
