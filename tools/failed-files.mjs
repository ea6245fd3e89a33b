// A reporter for node:test: the files of the tests that failed, one a line.
export default async function* failedFiles(source) {
  const files = new Set();
  for await (const event of source) {
    if (event.type === 'test:fail') files.add(event.data.file ?? event.data.name);
  }
  yield [...files].join('\n');
}
