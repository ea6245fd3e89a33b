/** Where a program may be, in the order of execvp(3). PURE. */

/** The C library's path for programs that have no PATH. @source confstr(_CS_PATH) */
const defaultSearchPath = '/bin:/usr/bin';

/** `name` itself if it has a slash, else below each folder of `searchPath` (null: not set); an empty folder is the current one. */
export function programPaths(name: string, searchPath: string | null): string[] {
  if (name === '') return [];
  if (name.includes('/')) return [name];
  return (searchPath ?? defaultSearchPath)
    .split(':')
    .map((folder) => (folder === '' ? `./${name}` : `${folder}/${name}`));
}
