// Objective: small rings do exactly what a plain model does, whatever the order of operations.
// Operations: every sequence of up to six operations by all sides, on rings of one to five slots; then longer ones
// drawn at random; with packets at the start of their buffers, and at an offset of its own in every slot.  The rings are
// not new for each sequence: they go round, so every position is met.
//
// A failure prints the command that repeats it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { open, type Port } from '../../src/client/index.ts';
import { frame, markOf, ownModule, using } from '../harness.ts';
import { FilledModel, PipeModel, Starts } from './models.ts';

ownModule();

const LENGTH = 6;
/** `NETMAP_REPEAT="pipe 3 send1,read1"` runs one sequence alone. */
const [REPEAT_SUBJECT, REPEAT_SLOTS, REPEAT_OPERATIONS] = (process.env['NETMAP_REPEAT'] ?? '').split(' ');
const SEED = Number(process.env['NETMAP_SEED'] ?? Date.now() % 1_000_000_000);
const RANDOM_RUNS = Number(process.env['NETMAP_RUNS'] ?? 300);

/** Real rings beside their model: named operations, a comparison, and the way back to empty. */
interface Subject {
  operations: Readonly<Record<string, () => void>>;
  compare(): void;
  empty(): void;
}

type Make = (slots: number, work: (subject: Subject) => void) => Promise<void>;

/** Where packets are to start in their buffers. */
const starts = new Starts();

let mark = 0;
/** Puts up to `count` new frames into a TX ring, as far as there is room, and syncs. @returns their numbers */
function send(port: Port, count: number): number[] {
  const ring = port.txRings[0]!;
  const sent: number[] = [];
  for (; sent.length < count && ring.space > 0; ring.publish(ring.next(ring.head))) {
    mark = (mark + 1) >>> 0;
    const offset = ring.hasOffsets ? starts.sends(mark) : 0;
    if (ring.hasOffsets) ring.setOffset(ring.head, Math.min(offset, Starts.FARTHEST));
    ring.put(ring.head, frame({ mark, src: port.name.endsWith('2') ? 2 : 1 }));
    if (offset > Starts.FARTHEST) ring.setOffset(ring.head, offset);
    sent.push(mark);
  }
  port.txSync();
  return sent;
}

function shownBy(port: Port): number[] {
  const ring = port.rxRings[0]!;
  const marks: number[] = [];
  for (let slot = ring.head; slot !== ring.tail; slot = ring.next(slot)) {
    const mark = markOf(ring.frame(slot));
    marks.push(mark);
    const swapped = port.name.includes('}') ? mark : undefined;
    assert.equal(ring.offset(slot), ring.hasOffsets ? starts.expected(ring, slot, swapped) : 0, 'its start');
  }
  return marks;
}

/** Gives the first slots shown up, without a sync; the next packets there are to start elsewhere. */
function release(port: Port, count: number): void {
  const ring = port.rxRings[0]!;
  if (ring.hasOffsets)
    for (let i = 0, slot = ring.head; i < count; i++, slot = ring.next(slot))
      ring.setOffset(slot, starts.receives(ring, slot));
  ring.publish(ring.after(ring.head, count));
}

/** Reads up to `count` frames on both sides. */
function read(port: Port, model: PipeModel | FilledModel, count: number): void {
  const available = Math.min(count, model.shown.length);
  assert.deepEqual(shownBy(port).slice(0, available), model.read(available));
  release(port, available);
}

type Options = { offsets?: { max: number } };
const WITH_OFFSETS: Options = { offsets: { max: Starts.FARTHEST } };

const pipeWith =
  (options: Options): Make =>
  (slots, work) => {
    const ends = ['{1', '}1'].map((end) => `netmap:prop${slots}${end}@conf:slots=${slots}`);
    return using(
      ends.map((end) => open(end, options)),
      (...ports) => {
        const [a, b] = ports as [Port, Port];
        const model = new PipeModel(slots);
        const subject: Subject = {
          operations: {
            send1: () => model.send(send(a, 1)),
            send2: () => model.send(send(a, 2)),
            txsync: () => model.send(send(a, 0)),
            read1: () => read(b, model, 1),
            readall: () => read(b, model, slots),
            rxsync() {
              b.rxSync();
              model.sync();
            },
          },
          compare() {
            assert.equal(a.txRings[0]!.space, model.space, 'the sender’s space');
            assert.deepEqual(shownBy(b), model.shown, 'what the receiver is shown');
          },
          empty() {
            for (const step of ['rxsync', 'readall', 'rxsync', 'txsync']) subject.operations[step]!();
            subject.compare();
            assert.equal(model.space, slots - 1);
          },
        };
        work(subject);
      },
    );
  };

const valeWith =
  (options: Options): Make =>
  (slots, work) => {
    const names = ['s1', 's2', `r@conf:slots=${slots}`].map((port) => `valep${slots}:${port}`);
    return using(
      names.map((name) => open(name, options)),
      (...ports) =>
        using([open(`valep${slots}:r/r`, options)], (monitor) => {
          const [s1, s2, r] = ports as [Port, Port, Port];
          const port = new FilledModel(slots);
          const watching = new FilledModel(slots);
          const deliver = (sender: Port, count: number) => {
            const taken = port.deliver(send(sender, count));
            watching.observe(taken);
          };
          const sync = (real: Port, model: FilledModel) => {
            real.rxSync();
            model.sync();
          };
          const subject: Subject = {
            operations: {
              one1: () => deliver(s1, 1),
              one3: () => deliver(s1, 3),
              two1: () => deliver(s2, 1),
              read1: () => read(r, port, 1),
              rxsync: () => sync(r, port),
              watch() {
                read(monitor, watching, slots);
                sync(monitor, watching);
              },
            },
            compare() {
              assert.deepEqual(shownBy(r), port.shown, 'what the receiver is shown');
              assert.deepEqual(shownBy(monitor), watching.shown, 'what the monitor is shown');
            },
            empty() {
              for (const [real, model] of [
                [r, port],
                [monitor, watching],
              ] as const) {
                sync(real, model);
                read(real, model, slots);
                sync(real, model);
              }
              // Broadcasts of one sender reach the other, too; nobody reads there.
              for (const sender of [s1, s2]) {
                sender.rxSync();
                release(sender, sender.rxRings[0]!.space);
                sender.rxSync();
              }
              subject.compare();
              const drops = (real: Port) => real.drops['receiver ring full'] ?? 0;
              assert.equal(drops(s1) + drops(s2), port.lost, 'what was dropped');
            },
          };
          work(subject);
        }),
    );
  };

/** The same with a zero-copy monitor at the receiver: it sees what was read, once that is given back. */
const zeroCopy: Make = (slots, work) => {
  const conf = `@conf:slots=${slots}`;
  return using([open(`netmap:propz${slots}{1${conf}`), open(`netmap:propz${slots}}1${conf}`)], (a, b) =>
    using([open(`netmap:propz${slots}}1/z${conf}`)], (monitor) => {
      const model = new PipeModel(slots);
      const watching = new FilledModel(slots);
      const unseen: number[] = [];
      const subject: Subject = {
        operations: {
          send2: () => model.send(send(a, 2)),
          read1() {
            unseen.push(...model.shown.slice(0, 1));
            read(b, model, 1);
          },
          rxsync() {
            watching.observe(unseen.splice(0));
            b.rxSync();
            model.sync();
          },
          watch() {
            monitor.rxSync();
            watching.sync();
            read(monitor, watching, slots);
            monitor.rxSync();
            watching.sync();
          },
        },
        compare() {
          assert.equal(a.txRings[0]!.space, model.space, 'the sender’s space');
          assert.deepEqual(shownBy(b), model.shown, 'what the receiver is shown');
          assert.deepEqual(shownBy(monitor), watching.shown, 'what the monitor is shown');
        },
        empty() {
          for (let i = 0; i < slots; i++) for (const step of ['rxsync', 'read1']) subject.operations[step]!();
          for (const step of ['rxsync', 'watch']) subject.operations[step]!();
          model.send(send(a, 0));
          subject.compare();
        },
      };
      work(subject);
    }),
  );
};

const SUBJECTS: Readonly<Record<string, Make>> = {
  pipe: pipeWith({}),
  vale: valeWith({}),
  zerocopy: zeroCopy,
  'pipe-offsets': pipeWith(WITH_OFFSETS),
  'vale-offsets': valeWith(WITH_OFFSETS),
};

function play(subject: Subject, names: readonly string[]): void {
  starts.restart();
  for (const name of names) {
    subject.operations[name]!();
    subject.compare();
  }
  subject.empty();
}

/** Every sequence of `length` names, one after the other. */
function* sequences(names: readonly string[], length: number): Generator<string[]> {
  const digits = new Array<number>(length).fill(0);
  for (;;) {
    yield digits.map((digit) => names[digit]!);
    let at = length - 1;
    for (; at >= 0 && digits[at] === names.length - 1; at--) digits[at] = 0;
    if (at < 0) return;
    digits[at]!++;
  }
}

function withCommand(subject: string, slots: number, names: readonly string[], work: () => void): void {
  try {
    work();
  } catch (error) {
    const repeat = `NETMAP_REPEAT="${subject} ${slots} ${names.join(',')}" node build/js/scripts/test.js property`;
    throw new Error(`${(error as Error).message}\nrepeat it with: ${repeat}`, { cause: error });
  }
}

for (const [name, make] of Object.entries(SUBJECTS)) {
  describe(`${name} against its model`, { timeout: 600_000 }, () => {
    if (REPEAT_SUBJECT) {
      const skip = REPEAT_SUBJECT === name ? false : 'another subject is repeated';
      test(`${REPEAT_SLOTS} slots: ${REPEAT_OPERATIONS}`, { skip }, () =>
        make(Number(REPEAT_SLOTS), (subject) => play(subject, REPEAT_OPERATIONS!.split(','))),
      );
      return;
    }

    for (const slots of [1, 2, 3, 4, 5]) {
      test(`every sequence of ${LENGTH} operations on rings of ${slots} slots`, () =>
        make(slots, (subject) => {
          for (const names of sequences(Object.keys(subject.operations), LENGTH))
            withCommand(name, slots, names, () => play(subject, names));
        }));
    }

    test(`random sequences on rings of up to 40 slots (NETMAP_SEED=${SEED})`, async () => {
      for (const slots of [2, 5, 7, 16, 40]) {
        await make(slots, (subject) => {
          const names = fc.array(fc.constantFrom(...Object.keys(subject.operations)), { maxLength: 400 });
          fc.assert(
            fc.property(names, (sequence) =>
              withCommand(name, slots, sequence, () => play(subject, sequence)),
            ),
            { seed: SEED, numRuns: RANDOM_RUNS },
          );
        });
      }
    });
  });
}
