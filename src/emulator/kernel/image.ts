/** The kernel that is loaded for the next jump, and the ways out of this one. Values only. */

export interface LoadedImage {
  /** By kexec_file_load(2). The other way is kexec_load(2), whose kernel finds no handover data. */
  readonly carries: boolean;
  /** null: kexec_load(2) has none of its own. */
  readonly commandLine: string | null;
}

/** `kexec` carries the sessions; `restart` is any jump or reboot that carries nothing; `powerOff` has nothing after it. */
export type RebootKind = 'kexec' | 'restart' | 'powerOff';
