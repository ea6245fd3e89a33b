// A reporter for node:test: how many tests passed, failed and were skipped, and which were skipped and why, as one JSON object.
export default async function* counts(source) {
  const count = { passed: 0, failed: 0, skipped: 0, skips: [] };
  for await (const { type, data } of source) {
    if ((type !== 'test:pass' && type !== 'test:fail') || data.details?.type === 'suite') continue;
    const why = data.skip ?? data.todo;
    if (why !== undefined) {
      count.skipped += 1;
      count.skips.push(typeof why === 'string' && why !== '' ? `${data.name} (${why})` : data.name);
    } else count[type === 'test:pass' ? 'passed' : 'failed'] += 1;
  }
  yield JSON.stringify(count);
}
