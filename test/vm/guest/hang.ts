/** Runs inside of the machine: never answers. */
export function hang(): Promise<never> {
  return new Promise(() => undefined);
}
