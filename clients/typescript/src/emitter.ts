/** Listeners by the name of what they wait for. */

/** Ends a listener. */
export type Off = () => void;

/** Something to listen to; `Events` maps each name to what its listeners get. */
export class Emitter<Events> {
  readonly #listeners = new Map<keyof Events, Set<(value: never) => void>>();

  /** Calls `listener` for each `name` from now on. The function returned ends that. */
  on<Name extends keyof Events>(name: Name, listener: (value: Events[Name]) => void): Off {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    // Wrapped, so that one function may listen twice.
    const entry = (value: Events[Name]) => listener(value);
    listeners.add(entry);
    return () => void listeners.delete(entry);
  }

  /** @internal How many listen for `name`. */
  protected listening(name: keyof Events): number {
    return this.#listeners.get(name)?.size ?? 0;
  }

  /** @internal */
  protected emit<Name extends keyof Events>(name: Name, value: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])] as ((value: Events[Name]) => void)[]) {
      try {
        listener(value);
      } catch (error) {
        // A fault of the program must not end the line; it reaches the platform's handler instead.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
