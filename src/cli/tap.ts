/** Results of the conformance suite as TAP version 14, and in one sentence. @source https://testanything.org/tap-version-14-specification.html */
import type { ConformanceResult } from '../ports/conformance.js';

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export function tapHead(cases: number): string {
  return `TAP version 14\n1..${cases}\n`;
}

export function tapLine(number: number, result: ConformanceResult): string {
  const about = `${number} - ${escaped(`${result.group}: ${result.name}`)}`;
  switch (result.result) {
    case 'pass':
      return `ok ${about}\n`;
    case 'skip':
      return `ok ${about} # SKIP ${escaped(result.reason)}\n`;
    case 'fail':
      return [
        `not ok ${about}`,
        '  ---',
        ...(['what', 'expected', 'came'] as const).map((field) => `  ${field}: ${JSON.stringify(result[field])}`),
        '  ...\n',
      ].join('\n');
  }
}

export function countsText({ passed, failed, skipped }: Counts): string {
  return `# ${passed} passed, ${failed} failed, ${skipped} skipped\n`;
}

/** In a description a number sign begins a directive. */
function escaped(text: string): string {
  return text.replace(/[\\#]/g, '\\$&').replace(/\s*\n\s*/g, ' ');
}
