/**
 * The open-loop probe: sends a request at fixed times whether or not the last one was answered, as the outside world
 * does, and notes every answer. What it measures is the longest time in which no answer came.
 *
 * Each request asks for another of its keys, in turn, so that a lost, doubled or exchanged answer shows as a wrong one.
 * Its own stalls (times at which it could not send) are reported beside, since they look like gaps of the server.
 */
import { type Endpoint, RespClient, encode } from './resp-client.js';
import { Latencies, type LatencySummary } from './latencies.js';

export interface ProbeOptions extends Endpoint {
  /** Time between two requests, ms. Default: 1. */
  readonly everyMs?: number;
  /** Default: 1. */
  readonly connections?: number;
}

/** What was seen between two moments. */
export interface ProbeWindow {
  readonly name: string;
  readonly durationMs: number;
  readonly sent: number;
  readonly answered: number;
  /** Sent and not answered when the window ended; those of the last window are lost. */
  readonly outstanding: number;
  readonly wrong: number;
  readonly failed: number;
  /** Longest time without an answer; the edges of the window count as answers. */
  readonly gapMsMax: number;
  /** When that gap ended; monotonic ns, as in luod's timelines. */
  readonly gapEndNs: number;
  /** Longest delay with which the probe itself sent. */
  readonly stallMsMax: number;
  readonly latency: LatencySummary;
}

export interface ProbeResult {
  readonly windows: readonly ProbeWindow[];
  readonly sent: number;
  readonly answered: number;
  readonly wrong: number;
  readonly failed: number;
  readonly lost: number;
  /** Answers that nobody had asked for. */
  readonly extra: number;
  readonly disconnects: number;
}

const KEYS = 256;
/** How long the last answers may take when the probe ends. */
const DRAIN_MS = 10_000;

export class Probe {
  readonly #clients: readonly RespClient[];
  readonly #requests: readonly Buffer[];
  readonly #everyMs: number;
  readonly #windows: ProbeWindow[] = [];
  readonly #startMs = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #sent = 0;
  #disconnects = 0;
  #lastSendMs = performance.now();
  // Of the window that is open.
  #name = 'start';
  #windowMs = performance.now();
  #lastAnswerMs = performance.now();
  #windowSent = 0;
  #answered = 0;
  #wrong = 0;
  #failed = 0;
  #gapMsMax = 0;
  #gapEndNs = 0;
  #stallMsMax = 0;
  #latencies = new Latencies();

  private constructor(clients: readonly RespClient[], everyMs: number) {
    this.#clients = clients;
    this.#everyMs = everyMs;
    this.#requests = Array.from({ length: KEYS }, (_, i) => encode('GET', `probe:${i}`));
    for (const client of clients) client.onDisconnect = () => (this.#disconnects += 1);
  }

  /** Connect, set the probe's keys and begin. @throws Error no connection, or the keys were refused */
  static async start(options: ProbeOptions): Promise<Probe> {
    const connections = Array.from({ length: options.connections ?? 1 }, () => RespClient.connect(options));
    const clients = await Promise.all(connections);
    for (let i = 0; i < KEYS; i += 1) await clients[0]!.request('SET', `probe:${i}`, `value:${i}`);
    const probe = new Probe(clients, options.everyMs ?? 1);
    probe.#schedule();
    return probe;
  }

  /** End the open window and begin another. */
  window(name: string): ProbeWindow {
    const nowMs = performance.now();
    this.#gap(nowMs);
    const ended: ProbeWindow = {
      name: this.#name,
      durationMs: nowMs - this.#windowMs,
      sent: this.#windowSent,
      answered: this.#answered,
      outstanding: this.#outstanding(),
      wrong: this.#wrong,
      failed: this.#failed,
      gapMsMax: this.#gapMsMax,
      gapEndNs: this.#gapEndNs,
      stallMsMax: this.#stallMsMax,
      latency: this.#latencies.summary(),
    };
    this.#windows.push(ended);
    this.#name = name;
    this.#windowMs = nowMs;
    // A gap that crosses the edge counts whole in the window in which it ends.
    this.#windowSent = 0;
    this.#answered = 0;
    this.#wrong = 0;
    this.#failed = 0;
    this.#gapMsMax = 0;
    this.#stallMsMax = 0;
    this.#latencies = new Latencies();
    return ended;
  }

  /** Stop sending, wait for the last answers, and say what was seen. */
  async finish(): Promise<ProbeResult> {
    clearTimeout(this.#timer);
    const untilMs = performance.now() + DRAIN_MS;
    while (this.#outstanding() > 0 && performance.now() < untilMs) await new Promise((done) => setTimeout(done, 1));
    const lost = this.#outstanding();
    this.window('end');
    for (const client of this.#clients) client.close();
    const sum = (field: 'sent' | 'answered' | 'wrong' | 'failed'): number =>
      this.#windows.reduce((total, window) => total + window[field], 0);
    return {
      windows: this.#windows,
      sent: sum('sent'),
      answered: sum('answered'),
      wrong: sum('wrong'),
      failed: sum('failed'),
      lost,
      extra: this.#clients.reduce((total, client) => total + client.extraReplies, 0),
      disconnects: this.#disconnects,
    };
  }

  /** The time without an answer ends here, or is looked at here. */
  #gap(nowMs: number): void {
    const gapMs = nowMs - this.#lastAnswerMs;
    if (gapMs <= this.#gapMsMax) return;
    this.#gapMsMax = gapMs;
    this.#gapEndNs = Number(process.hrtime.bigint());
  }

  #outstanding(): number {
    return this.#clients.reduce((total, client) => total + client.outstanding, 0);
  }

  #schedule(): void {
    this.#timer = setTimeout(() => this.#tick(), this.#everyMs);
  }

  #tick(): void {
    const nowMs = performance.now();
    this.#stallMsMax = Math.max(this.#stallMsMax, nowMs - this.#lastSendMs - this.#everyMs);
    this.#lastSendMs = nowMs;
    for (const due = Math.floor((nowMs - this.#startMs) / this.#everyMs); this.#sent < due; this.#sent += 1)
      this.#send();
    this.#schedule();
  }

  #send(): void {
    const key = this.#sent % KEYS;
    const sentMs = performance.now();
    this.#windowSent += 1;
    this.#clients[this.#sent % this.#clients.length]!.send(this.#requests[key]!, 1, (reply) => {
      if (!(reply instanceof Buffer)) {
        this.#failed += 1;
        return;
      }
      const nowMs = performance.now();
      this.#answered += 1;
      if (reply.toString('latin1') !== `value:${key}`) this.#wrong += 1;
      this.#gap(nowMs);
      this.#lastAnswerMs = nowMs;
      this.#latencies.add(nowMs - sentMs);
    });
  }
}
