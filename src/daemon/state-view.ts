/**
 * What is shown of the state: to those who watch as events, and in luod's directory as files. Changes of one turn of the loop are
 * shown as one. In the blackout every millisecond is a client's: the files follow when it is over, or when it takes long.
 */
import type { Handles } from './handles.js';
import type { Orchestrator } from './orchestrator.js';
import type { Participants } from './participants.js';
import type { Server } from './server.js';
import type { StateFiles } from './state-files.js';
import { handleFiles, participantFiles } from './state-text.js';

/** A freeze or commit that takes longer than this is shown in the files while it lasts. */
const SLOW_PHASE_MS = 100;
/** Changes of so long are shown as one. */
const FILES_MS = 10;

export interface StateViewParts {
  readonly orchestrator: Orchestrator;
  readonly handles: Handles;
  readonly participants: Participants;
  readonly server: Server;
  readonly files: StateFiles;
  /** Called with each change that is shown, after those who watch were told. */
  readonly onShown: () => void;
}

export class StateView {
  readonly #parts: StateViewParts;
  #isChangePending = false;
  #lastTold = '';
  #filesTimer: NodeJS.Timeout | undefined;
  #filesWaitMs = 0;
  #isClosed = false;

  constructor(parts: StateViewParts) {
    this.#parts = parts;
  }

  /** Something that is shown has changed. */
  changed(): void {
    if (this.#isChangePending || this.#isClosed) return;
    this.#isChangePending = true;
    setImmediate(() => {
      this.#isChangePending = false;
      if (this.#isClosed) return;
      this.#tell();
      this.#showFilesSoon();
      this.#parts.onShown();
    });
  }

  showFiles(): void {
    const { orchestrator, handles, participants, files } = this.#parts;
    const { state, phase } = orchestrator.shown;
    files.show({
      state,
      phase,
      generation: orchestrator.generation,
      handles: handleFiles(handles.all()),
      participants: participantFiles(participants.all()),
    });
  }

  /** Nothing is shown any more. */
  close(): void {
    this.#isClosed = true;
  }

  #tell(): void {
    const { orchestrator, server } = this.#parts;
    const { generation } = orchestrator;
    const { state, phase } = orchestrator.shown;
    const told = `${state} ${phase} ${generation}`;
    if (told !== this.#lastTold) server.tell('state', { state, phase, generation });
    this.#lastTold = told;
  }

  #showFilesSoon(): void {
    const { phase } = this.#parts.orchestrator.shown;
    if (this.#filesTimer && this.#filesWaitMs <= FILES_MS) return;
    clearTimeout(this.#filesTimer);
    this.#filesWaitMs = phase === 'freezing' || phase === 'committing' ? SLOW_PHASE_MS : FILES_MS;
    this.#filesTimer = setTimeout(() => {
      this.#filesTimer = undefined;
      if (!this.#isClosed) this.showFiles();
    }, this.#filesWaitMs);
  }
}
