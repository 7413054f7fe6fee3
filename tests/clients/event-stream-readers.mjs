// What reads event streams elsewhere, each by its own parser: `open(url, put)` hands on each event as
// `{ type, data, id }`, and gives what ends it.

import { fetchEventSource } from "@microsoft/fetch-event-source";
import { EventSourcePolyfill } from "event-source-polyfill";
import { EventSource as EventSource4 } from "eventsource";
import EventSource2 from "eventsource-2";
import { EventSource as EventSource3 } from "eventsource-3";
import { EventSource as EventSource5 } from "eventsource-5";
import { createEventSource } from "eventsource-client";
import { createParser } from "eventsource-parser";
import { events } from "fetch-event-stream";

// All that this one needs of a page.
globalThis.window ??= globalThis;
globalThis.document ??= { addEventListener() {}, removeEventListener() {} };

/** Events that have to be listened for by their names, where a parser asks for that. */
const NAMES = ["message", "typing", "heartbeat", "gap", "closed"];

/** How soon those come back that tell the time themselves. */
const RETRY_MS = 20;

export const READERS = {
  "eventsource 2": eventSource(EventSource2),
  "eventsource 3": eventSource(EventSource3),
  "eventsource 4": eventSource(EventSource4),
  "eventsource 5": eventSource(EventSource5),
  "event-source-polyfill": eventSource(EventSourcePolyfill),
  "eventsource-client": openClient,
  "@microsoft/fetch-event-source": openFetchEventSource,
  "eventsource-parser": byHand(parse),
  "fetch-event-stream": byHand(iterate),
};

/** What has the interface of browsers. */
function eventSource(Class) {
  return (url, put) => {
    const source = new Class(url);
    for (const name of NAMES) {
      source.addEventListener(name, ({ type, data, lastEventId }) => put({ type, data, id: lastEventId }));
    }
    return () => source.close();
  };
}

/** The browser's own, in a page of the server's origin. */
export async function openInPage(page, url, put) {
  await page.exposeFunction("put", put);
  await page.evaluate(
    ([url, names]) => {
      window.source = new EventSource(url);
      for (const name of names) {
        window.source.addEventListener(name, ({ type, data, lastEventId }) => window.put({ type, data, id: lastEventId }));
      }
    },
    [url, NAMES],
  );
  return () => page.evaluate(() => window.source.close());
}

function openClient(url, put) {
  const source = createEventSource({
    url,
    onMessage: ({ event = "message", data, id }) => put({ type: event, data, id }),
  });
  return () => source.close();
}

function openFetchEventSource(url, put) {
  const ending = new AbortController();
  fetchEventSource(url, {
    signal: ending.signal,
    openWhenHidden: true,
    onmessage: ({ event, data, id }) => put({ type: event || "message", data, id }),
    onclose() {
      throw new Error("come back");
    },
    onerror: () => RETRY_MS,
  });
  return () => ending.abort();
}

/** A parser alone: who uses it comes back by itself, and says where it was. */
function byHand(read) {
  return (url, put) => {
    const ending = new AbortController();
    const last = { id: undefined };
    (async () => {
      while (!ending.signal.aborted) {
        try {
          const headers = { accept: "text/event-stream", ...(last.id && { "last-event-id": last.id }) };
          const answer = await fetch(url, { headers, signal: ending.signal });
          if (answer.status === 200) {
            await read(answer, ({ event = "message", data, id }) => {
              last.id = id ?? last.id;
              put({ type: event, data, id });
            });
          }
        } catch {
          // It was cut, or nobody listens.
        }
        await new Promise((again) => setTimeout(again, RETRY_MS));
      }
    })();
    return () => ending.abort();
  };
}

async function parse(answer, onEvent) {
  const parser = createParser({ onEvent });
  for await (const text of answer.body.pipeThrough(new TextDecoderStream())) parser.feed(text);
}

async function iterate(answer, onEvent) {
  for await (const event of events(answer)) onEvent(event);
}
