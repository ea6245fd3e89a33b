// Goal: what the next kernel's luod says of a handle follows from who held it and whether everybody had stopped. Method: records of a
// manifest in, records of a journal out.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { JOURNAL_VERSION } from '../../../src/engine/types.js';
import type { Handle } from '../../../src/daemon/handles.js';
import { arrivalRecords } from '../../../src/daemon/kexec/arrival.js';
import type { ManifestContent } from '../../../src/daemon/kexec/manifest-content.js';

const KEY = '0:a/fd:m';
const NOW = { realtimeMs: 2000, monotonicNs: 500_000_000n };

function contentWith(handle: Partial<Handle>): ManifestContent {
  return {
    format: 1,
    writer: { version: '0.1.0', release: '7.2.13', bootId: 'b' },
    attempt: 3,
    gap: 'kexec',
    frozen: true,
    claimMs: 60_000,
    clock: { realtimeNs: '1000000000', monotonicNs: '200000000' },
    sessions: [{ name: 'luo-1', owner: '0:a', handles: [{ key: KEY, token: '1', sizeBytes: 8192 }] }],
    records: [
      {
        kind: 'handle',
        handle: { key: KEY, owner: '0:a', kind: 'fd', name: 'm', hasFd: true, marked: true, ...handle },
      },
      { kind: 'engine', record: { v: JOURNAL_VERSION, type: 'attempt', attempt: 3, plan: { steps: [] } } },
    ],
    parcels: [],
  };
}

function arrivedHandle(handle: Partial<Handle>, frozen: boolean): Handle {
  const record = arrivalRecords(contentWith(handle), frozen, NOW).find(({ kind }) => kind === 'handle');
  return record!.handle as Handle;
}

test('memory that was running is torn, whoever held it, and nobody holds it', () => {
  for (const holder of ['a#1', null]) {
    const { holder: now, leftDirty, cameTorn } = arrivedHandle({ holder, leftDirty: false }, false);
    assert.deepEqual([now, leftDirty, cameTorn], [null, true, true]);
  }
});

test('memory whose holder had stopped is whole, whatever it came as before', () => {
  const { holder, leftDirty, cameTorn } = arrivedHandle({ holder: 'a#1', leftDirty: true, cameTorn: true }, true);
  assert.deepEqual([holder, leftDirty, cameTorn], [null, false, undefined]);
});

test('memory that nobody held is as it was left', () => {
  for (const [leftDirty, cameTorn] of [
    [true, true],
    [false, undefined],
  ] as const) {
    const arrived = arrivedHandle({ holder: null, leftDirty, ...(cameTorn ? { cameTorn } : {}) }, true);
    assert.deepEqual([arrived.leftDirty, arrived.cameTorn], [leftDirty, cameTorn]);
  }
});

test('a manifest that does not say what its attempt was is damaged', () => {
  const content = contentWith({});
  const records = content.records.filter(({ kind }) => kind !== 'engine');
  assert.throws(() => arrivalRecords({ ...content, records }, true, NOW), { code: 'MANIFEST_DAMAGED' });
});
