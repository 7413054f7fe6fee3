/** Cuts the text of a stream into messages, wherever the network cut it before. */

/** Takes the next piece of text; returns whether it is still a stream of ours. */
export type Framing = (piece: string) => boolean;

/** One message a line. */
export function ndjson(onMessage: (text: string) => void): Framing {
  return lines((line) => {
    if (line !== "") onMessage(line);
  });
}

/** An event stream (WHATWG HTML, section 9.2.6), of which sessions use `data` and comments alone. */
export function eventStream(onMessage: (text: string) => void): Framing {
  let data: string[] = [];
  return lines((line) => {
    if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
    if (line !== "" || data.length === 0) return;
    const text = data.join("\n");
    data = [];
    onMessage(text);
  });
}

function lines(onLine: (line: string) => void): Framing {
  let rest = "";
  return (piece) => {
    const all = rest + piece;
    let start = 0;
    for (const end of all.matchAll(/\r\n|\n|\r(?!$)/g)) {
      onLine(all.slice(start, end.index));
      start = end.index + end[0].length;
    }
    // A line end may be cut between CR and LF, so a CR at the very end waits for what follows.
    rest = all.slice(start);
    return rest.length <= LINE_CHARS_MAX;
  };
}

/** Far above what a server lets through; without it, a stream without line ends would fill the memory. */
const LINE_CHARS_MAX = 16_777_216;
