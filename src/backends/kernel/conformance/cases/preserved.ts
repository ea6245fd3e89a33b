/** What can be done with a memfd while it is preserved: there is no snapshot, it goes on living. */
import { MAP, PROT } from '../../../../abi/linux.js';
import { Mapping, fstat, ftruncate, pread, pwrite, read } from '../../../../sys/index.js';
import { contentOf, fdinfoOf, outcomeOf } from '../bench.js';
import { type Case, cases } from '../case.js';
import { expect } from '../verdict.js';

export const PRESERVED: readonly Case[] = cases([
  {
    name: 'it is read as before, and its position moves as before',
    run(bench) {
      const file = bench.memfd('hello world');
      pread(file.fd, Buffer.alloc(1), 0);
      expect('PRESERVE_FD', bench.preserve(bench.create('read'), file, 1n), 'ok');
      expect('content', contentOf(file), 'hello world');
      expect('position', fdinfoOf(file, 'pos'), 11);
      expect('at the end', read(file.fd, Buffer.alloc(4)), 0);
      expect('size', fstat(file.fd).sizeBytes, 11);
    },
  },
  {
    name: 'it is written in place as before',
    run(bench) {
      const file = bench.memfd('hello world');
      expect('PRESERVE_FD', bench.preserve(bench.create('write'), file, 1n), 'ok');
      expect('bytes', pwrite(file.fd, Buffer.from('HELLO'), 0), 5);
      expect('content', contentOf(file), 'HELLO world');
    },
  },
  {
    name: 'a mapping that it had goes on, and new ones can be made',
    run(bench) {
      const file = bench.memfd('hello world');
      const map = (): Mapping => {
        const made = Mapping.map({
          fd: file.fd,
          sizeBytes: 4096,
          protection: PROT.READ | PROT.WRITE,
          flags: MAP.SHARED,
        });
        bench.atEnd(() => made.unmap());
        return made;
      };
      const before = map();
      expect('PRESERVE_FD', bench.preserve(bench.create('map'), file, 1n), 'ok');
      Buffer.from(before.buffer).write('HELLO');
      expect('through the old', contentOf(file), 'HELLO world');
      Buffer.from(map().buffer).write('WORLD', 6);
      expect('through the new', contentOf(file), 'HELLO WORLD');
    },
  },
  {
    name: 'it cannot change its size: EPERM, through any fd, until its session is closed',
    run(bench) {
      const file = bench.memfd('hello world');
      const session = bench.create('fixed');
      const again = bench.open(`/proc/self/fd/${file.fd}`);
      expect('PRESERVE_FD', bench.preserve(session, file, 1n), 'ok');
      for (const fd of [file, again, bench.own(file.dup())]) {
        expect(
          'larger',
          outcomeOf(() => ftruncate(fd.fd, 100)),
          'EPERM',
        );
        expect(
          'smaller',
          outcomeOf(() => ftruncate(fd.fd, 1)),
          'EPERM',
        );
        expect(
          'the size that it has',
          outcomeOf(() => ftruncate(fd.fd, 11)),
          'ok',
        );
      }
      expect('size', fstat(file.fd).sizeBytes, 11);
      session.close();
      expect(
        'larger, afterwards',
        outcomeOf(() => ftruncate(again.fd, 100)),
        'ok',
      );
    },
  },
  {
    name: 'closing its fds unpreserves nothing',
    run(bench) {
      const file = bench.memfd('content');
      const session = bench.create('closed');
      expect('PRESERVE_FD', bench.preserve(session, file, 1n), 'ok');
      file.close();
      expect('the token', bench.preserve(session, bench.memfd('other'), 1n), 'EEXIST');
      expect('another file', bench.preserve(session, bench.memfd('another'), 2n), 'ok');
    },
  },
  {
    name: 'with the session it is free again, with what was written meanwhile',
    run(bench) {
      const file = bench.memfd('hello world');
      const session = bench.create('freed');
      expect('PRESERVE_FD', bench.preserve(session, file, 1n), 'ok');
      pwrite(file.fd, Buffer.from('HELLO'), 0);
      session.close();
      expect('content', contentOf(file), 'HELLO world');
      expect('beyond its end', pwrite(file.fd, Buffer.from('!'), 11), 1);
      expect('preserved again', bench.preserve(bench.create('again'), file, 1n), 'ok');
    },
  },
]);
