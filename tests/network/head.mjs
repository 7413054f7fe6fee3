// The head of an HTTP/1.1 request as a proxy reads it, and the wire that it asks for.

/** Where a head ends in `bytes`, its empty line included; 0 while the end has not come. */
export function headEnd(bytes) {
  const at = bytes.indexOf("\r\n\r\n");
  return at < 0 ? 0 : at + 4;
}

/** Reads the head of a request: `{ method, path, query, fields, contentLength }`. */
export function requestHead(bytes) {
  const [line, ...rest] = bytes.toString("latin1").split("\r\n");
  const [method, target] = line.split(" ");
  const [path, query = ""] = (target ?? "").split("?");
  const fields = fieldsOf(rest);
  if (fields.has("transfer-encoding")) throw new Error("the proxy reads contents with Content-Length alone; send one");
  return { method, path, query: new URLSearchParams(query), fields, contentLength: Number(fields.get("content-length") ?? 0) };
}

/** The fields of a response's head, by their names in small letters. */
export function responseFields(bytes) {
  return fieldsOf(bytes.toString("latin1").split("\r\n").slice(1));
}

function fieldsOf(lines) {
  return new Map(
    lines.filter(Boolean).map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
}

/** The wires that a fault can befall. */
export const WIRES = ["websocket", "event-stream", "ndjson", "long-poll"];

/**
 * What a request is for:
 *
 *     { kind: "open", wire }        asks for a wire
 *     { kind: "poll", session }     the next poll of a session
 *     { kind: "commands", session } commands of a session over HTTP
 *     { kind: "other" }             everything else
 */
export function purposeOf({ method, path, query, fields }) {
  const session = /^\/connect\/([^/]+)$/.exec(path)?.[1];
  if (session !== undefined && method === "POST") return { kind: "commands", session };
  if (session !== undefined && method === "GET") return { kind: "poll", session };
  const wire = method === "GET" ? wireOf(path, query, fields) : null;
  return wire === null ? { kind: "other" } : { kind: "open", wire };
}

function wireOf(path, query, fields) {
  if (fields.get("upgrade")?.toLowerCase() === "websocket") return "websocket";
  const asked = `${query.get("live") ?? ""} ${fields.get("accept") ?? ""}`;
  if (/sse|text\/event-stream/.test(asked)) return "event-stream";
  if (/ndjson/.test(asked)) return "ndjson";
  // Outside of sessions `application/json` asks for a page of history.
  if (/long-poll/.test(asked) || (path === "/connect" && /application\/json/.test(asked))) return "long-poll";
  return null;
}
