/**
 * Those who asked for a transition and wait for how it comes to rest. The engine knows a request by its number and refuses it, or
 * takes it up; whoever is taken up hears of the next rest, which is that of all of them.
 */
import type { LuoError } from '../base/errors.js';
import type { SettledEffect } from '../engine/types.js';

/** How a transition that somebody asked for came to rest. */
export type Settled = Omit<SettledEffect, 'type'>;

interface Waiter {
  readonly request: number;
  readonly resolve: (settled: Settled) => void;
  readonly reject: (error: LuoError) => void;
}

export class Waiters {
  #lastRequest = 0;
  #waiters: Waiter[] = [];

  /** @param ask puts the request to the engine under its number; it may be refused before that returns */
  ask(ask: (request: number) => void): Promise<Settled> {
    return new Promise((resolve, reject) => {
      const request = this.#next();
      this.#waiters.push({ request, resolve, reject });
      ask(request);
    });
  }

  /** The same for what is done when `ask` returns, or refused. @throws LuoError the refusal */
  askNow(ask: (request: number) => void): void {
    let refusal: LuoError | undefined;
    const request = this.#next();
    this.#waiters.push({ request, resolve: () => undefined, reject: (error) => (refusal = error) });
    ask(request);
    this.#waiters = this.#waiters.filter((waiter) => waiter.request !== request);
    if (refusal) throw refusal;
  }

  refuse(request: number, error: LuoError): void {
    const waiter = this.#waiters.find((one) => one.request === request);
    this.#waiters = this.#waiters.filter((one) => one !== waiter);
    waiter?.reject(error);
  }

  settle(settled: Settled): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.resolve(settled);
  }

  #next(): number {
    this.#lastRequest += 1;
    return this.#lastRequest;
  }
}
