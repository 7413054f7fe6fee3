/** Which wire worked on this network, kept over visits. A storage that refuses is none. */
import type { Environment, WireName } from "./settings.js";

export function recallWire({ storage, now }: Environment, key: string, rememberMs: number): WireName | null {
  try {
    const [wire, at] = JSON.parse(storage!.getItem(key)!) as [WireName, number];
    return now() - at < rememberMs ? wire : null;
  } catch {
    return null;
  }
}

export function rememberWire({ storage, now }: Environment, key: string, wire: WireName): void {
  try {
    storage?.setItem(key, JSON.stringify([wire, now()]));
  } catch {}
}
