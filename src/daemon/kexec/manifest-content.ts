/** What luod writes into the body of the manifest. JSON. */
import type { JournalRecord } from '../../protocol/journal.js';
import type { Preserved } from './outgoing.js';

/** What the manifest says. Unknown fields of a newer writer are kept by the format, and ignored here. */
export interface ManifestContent {
  readonly format: number;
  readonly writer: { readonly version: string; readonly release: string; readonly bootId: string };
  readonly attempt: number;
  readonly gap: 'kexec';
  readonly frozen: boolean;
  /** How long participants may take to claim, ms. */
  readonly claimMs: number;
  readonly clock: { readonly realtimeNs: string; readonly monotonicNs: string };
  readonly sessions: readonly {
    readonly name: string;
    readonly owner: string;
    readonly handles: readonly Preserved[];
  }[];
  readonly records: readonly JournalRecord[];
  readonly parcels: readonly { readonly name: string; readonly owner: string; readonly meta: unknown }[];
}
