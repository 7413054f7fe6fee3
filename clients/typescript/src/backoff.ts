/** How long to wait before the next attempt: full jitter, so that a thousand clients do not come back at once. */

/**
 * @param roll from 0 up to 1, at random
 * @param attempt how many attempts failed before, from 0
 * @returns milliseconds, evenly spread from 0 to a limit that doubles with each attempt
 */
export function backoffMs(roll: number, attempt: number, baseMs: number, maxMs: number): number {
  return roll * Math.min(maxMs, baseMs * 2 ** Math.min(attempt, 30));
}
