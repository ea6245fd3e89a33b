/** The cache with its arguments from CACHE_ARGS (a JSON array), for those who start programs by name alone. */
process.argv.push(...(JSON.parse(process.env.CACHE_ARGS ?? '[]') as string[]));
await import('../../examples/cache/main.js');
