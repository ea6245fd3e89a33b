// A reporter for node:test: how many tests passed, failed and were skipped, as one JSON object.
export default async function* counts(source) {
  const count = { passed: 0, failed: 0, skipped: 0 };
  for await (const { type, data } of source) {
    if ((type !== 'test:pass' && type !== 'test:fail') || data.details?.type === 'suite') continue;
    if (data.skip !== undefined || data.todo !== undefined) count.skipped += 1;
    else count[type === 'test:pass' ? 'passed' : 'failed'] += 1;
  }
  yield JSON.stringify(count);
}
