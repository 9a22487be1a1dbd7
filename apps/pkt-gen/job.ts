import type { Port } from '../../src/client/index.ts';
import type { Board, Row } from './board.ts';
import type { PktGenOptions } from './options.ts';

/** What one worker thread has to do, and with what. */
export interface Job {
  readonly port: Port;
  readonly options: PktGenOptions;
  /** pkt-gen-b: never sleep. */
  readonly busy: boolean;
  readonly thread: number;
  readonly board: Board;
  readonly row: Row;
  /** Packets to send or receive, of all threads' `-n`; Infinity if unlimited. */
  readonly target: number;
}
