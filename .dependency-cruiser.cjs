// The import rules of the source tree. ARCHITECTURE.md shows the same table; test/house/architecture.test.ts holds the
// two together. A failing rule names the importing file: move the code, or pass what it needs in as a port (src/ports).
const may = {
  base: [],
  engine: ['base'],
  model: ['base'],
  abi: ['base'],
  protocol: ['base', '@sinclair/typebox'],
  ports: ['base'],
  sys: ['base', 'abi', 'koffi', 'node'],
  transport: ['base', 'protocol', 'sys', 'node'],
  keeper: ['base', 'abi', 'protocol', 'sys', 'transport', 'node'],
  handles: ['base', 'ports', 'model', 'abi', 'protocol', 'sys', 'transport', 'node'],
  backends: ['base', 'ports', 'model', 'abi', 'protocol', 'sys', 'transport', 'node'],
  emulator: ['base', 'ports', 'model', 'abi', 'protocol', 'sys', 'transport', 'node'],
  client: ['base', 'abi', 'protocol', 'sys', 'transport', 'node'],
  cli: ['base', 'client', 'ports', 'protocol', 'commander', 'node'],
  daemon: ['base', 'engine', 'ports', 'protocol', 'sys', 'transport', 'pino', 'node'],
  testing: ['base', 'ports', 'model', 'abi', 'protocol', 'sys', 'transport', 'client', 'backends', 'emulator', 'node'],
};

const target = {
  node: '^(node:|[a-z_]+$)',
  koffi: '^node_modules/(koffi|@koromix)/',
  '@sinclair/typebox': '^node_modules/@sinclair/typebox/',
  pino: '^node_modules/pino/',
  commander: '^node_modules/commander/',
};

module.exports = {
  allowed: undefined,
  forbidden: [
    ...Object.entries(may).map(([folder, names]) => ({
      name: `${folder}-imports`,
      severity: 'error',
      comment: `src/${folder} may import only: ${['itself', ...names].join(', ')}. Pass anything else in as a port, from src/bin.`,
      from: { path: `^src/${folder}/` },
      to: {
        pathNot: [
          `^src/${folder}/`,
          ...names.filter((n) => !target[n]).map((n) => `^src/${n}/`),
          ...names.filter((n) => target[n]).map((n) => target[n]),
        ],
        ...(names.includes('node') ? { dependencyTypesNot: ['core'] } : {}),
      },
    })),
    ...['kernel', 'handover', 'memory'].map((backend) => ({
      name: `backend-${backend}-alone`,
      severity: 'error',
      comment: 'backends never import each other: what they share belongs to src/model or src/transport',
      from: { path: `^src/backends/${backend}/` },
      to: { path: '^src/backends/', pathNot: `^src/backends/${backend}/` },
    })),
    {
      name: 'handles-apart',
      severity: 'error',
      comment: 'handles, backends and emulator never import each other',
      from: { path: '^src/handles/' },
      to: { path: '^src/(backends|emulator)/' },
    },
    ...['backends', 'emulator'].map((folder) => ({
      name: `${folder}-apart`,
      severity: 'error',
      comment: 'handles, backends and emulator never import each other',
      from: { path: `^src/${folder}/` },
      to: { path: `^src/(handles|backends|emulator)/`, pathNot: `^src/${folder}/` },
    })),
    {
      name: 'testing-memory-backend-only',
      severity: 'error',
      comment: 'src/testing may use backends/memory and no other backend; luod only as the built program',
      from: { path: '^src/testing/' },
      to: { path: '^src/backends/(?!memory/)' },
    },
    {
      name: 'nothing-imports-bin',
      severity: 'error',
      comment: 'bin is composition only',
      from: { pathNot: '^src/bin/' },
      to: { path: '^src/bin/' },
    },
    {
      name: 'koffi-only-in-sys',
      severity: 'error',
      comment: 'src/sys is the only importer of koffi',
      from: { pathNot: '^src/sys/' },
      to: { path: 'node_modules/(koffi|@koromix)/' },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      comment: 'a cycle hides which of two files is the lower one',
      from: {},
      to: { circular: true },
    },
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: {
      extensions: ['.ts', '.js'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
    },
  },
};
