/** Imported for its effect: a program of a test ends when the test is gone, however that ended. */
const parent = process.ppid;
setInterval(() => {
  if (process.ppid !== parent) process.exit(3);
}, 500).unref();
