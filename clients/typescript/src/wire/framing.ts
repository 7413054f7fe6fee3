/**
 * Cuts the text of a stream into messages, wherever the network cut it before. Both streams carry one JSON object a
 * line; an event stream says `data:` before it, and has comments and empty lines between.
 */

/** Takes the next piece of text; returns how many characters wait for the end of their line. */
export type Framing = (piece: string) => number;

export function framing(onMessage: (text: string) => void): Framing {
  let rest = "";
  return (piece) => {
    // Only what is new is searched, or a large message would be searched anew with each of its pieces.
    const lines = piece.split("\n");
    lines[0] = rest + lines[0];
    rest = lines.pop()!;
    for (const line of lines) {
      const text = line.replace(/^data:|^:.*/, "").trim();
      if (text) onMessage(text);
    }
    return rest.length;
  };
}
