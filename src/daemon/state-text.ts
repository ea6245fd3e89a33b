/**
 * Handles and participants as the text of their state files. A text is made once for each version of a record, since
 * thousands of them are looked at with every change and few have changed.
 */
import type { Handle } from './handles.js';
import type { Participant, ParticipantRecord } from './participants.js';
import { fileNameOf } from './state-files.js';

interface Text {
  readonly name: string;
  readonly content: string;
}

const handleTexts = new WeakMap<Handle, Text>();
const participantTexts = {
  connected: new WeakMap<ParticipantRecord, Text>(),
  gone: new WeakMap<ParticipantRecord, Text>(),
};

/** File name to content. */
export function handleFiles(handles: readonly Handle[]): Map<string, string> {
  const files = new Map<string, string>();
  for (const handle of handles) {
    let text = handleTexts.get(handle);
    if (!text) {
      const { key, type, sizeBytes, holder, policy } = handle;
      text = {
        name: fileNameOf(key),
        content: `${JSON.stringify({ handle: key, type, sizeBytes, holder, policy })}\n`,
      };
      handleTexts.set(handle, text);
    }
    files.set(text.name, text.content);
  }
  return files;
}

/** File name to content. */
export function participantFiles(participants: readonly Participant[]): Map<string, string> {
  const files = new Map<string, string>();
  for (const { record, connected } of participants) {
    const texts = connected ? participantTexts.connected : participantTexts.gone;
    let text = texts.get(record);
    if (!text) {
      const { id, owner, pid, role } = record;
      text = { name: fileNameOf(id), content: `${JSON.stringify({ participant: id, owner, pid, role, connected })}\n` };
      texts.set(record, text);
    }
    files.set(text.name, text.content);
  }
  return files;
}
