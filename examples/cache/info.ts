/** The text of INFO: sections of `name:value` lines, as Redis has them, and one of our own. */
import type { ServerView } from './command.js';
import { HEADER } from './layout.js';

/** The version of Redis whose commands behave like ours; clients look at it to see what they may use. */
export const serverVersion = '7.2.0';

const SECTIONS: Readonly<Record<string, (server: ServerView) => Readonly<Record<string, string | number>>>> = {
  server: (server) => ({
    redis_version: serverVersion,
    server_name: 'luo-cache',
    redis_mode: 'standalone',
    os: process.platform,
    arch_bits: 64,
    process_id: process.pid,
    uptime_in_seconds: Math.floor((Date.now() - server.startedAtMs) / 1000),
  }),
  clients: (server) => ({ connected_clients: [...server.sessions()].length }),
  memory: (server) => ({
    used_memory: server.store.memory.usedBytes,
    maxmemory: server.store.memory.totalBytes,
    maxmemory_policy: 'noeviction',
    process_rss: process.memoryUsage.rss(),
  }),
  stats: (server) => ({
    total_connections_received: server.acceptedCount,
    total_commands_processed: server.commandCount,
    expired_keys: server.store.expired,
  }),
  luo: (server) => ({
    version_label: server.versionLabel,
    generation: server.generation,
    regions: server.store.regions.length,
    index_buckets: server.store.table.buckets,
    repairs: server.store.headerWord(HEADER.repairs),
    last_repair_kept: server.store.headerWord(HEADER.repairedKept),
    last_repair_dropped: server.store.headerWord(HEADER.repairedDropped),
    last_repair_duplicates: server.store.headerWord(HEADER.repairedDuplicates),
  }),
  keyspace: (server) =>
    server.store.count === 0
      ? {}
      : { db0: `keys=${server.store.count},expires=${server.store.volatileCount},avg_ttl=0` },
};

/** @param sections which, in lower case; none, `all`, `default` or `everything`: all of them */
export function infoText(server: ServerView, sections: readonly string[]): string {
  const isAll = sections.length === 0 || sections.some((name) => ['all', 'default', 'everything'].includes(name));
  return Object.entries(SECTIONS)
    .filter(([name]) => isAll || sections.includes(name))
    .map(([name, section]) => {
      const title = name.charAt(0).toUpperCase() + name.slice(1);
      const lines = Object.entries(section(server)).map(([key, value]) => `${key}:${value}\r\n`);
      return `# ${title}\r\n${lines.join('')}`;
    })
    .join('\r\n');
}
