// Whose turn it is: what other users ask for is done one piece at a time for each of them, each piece in a turn of the
// event loop of its own.  So however much one of them asks for, everybody else waits for a single piece of it at most.

type Work = () => Promise<void>;

export class Turns {
  readonly #queues = new Map<number, Work[]>();

  /** Has `work`, which must not throw, done when all that this user asked for before is done. */
  take(uid: number, work: Work): void {
    const queue = this.#queues.get(uid);
    if (queue) {
      queue.push(work);
      return;
    }
    const begun = [work];
    this.#queues.set(uid, begun);
    void this.#run(uid, begun);
  }

  async #run(uid: number, queue: Work[]): Promise<void> {
    for (let work = queue.shift(); work; work = queue.shift()) {
      await new Promise((resolve) => setImmediate(resolve));
      await work();
    }
    this.#queues.delete(uid);
  }
}

/** Connections of other users: so many for each, and for all of them together. */
export class Places {
  readonly #each: number;
  readonly #all: number;
  readonly #taken = new Map<number, number>();

  constructor(each: number, all: number) {
    this.#each = each;
    this.#all = all;
  }

  /** @returns false if there is none left for this user */
  take(uid: number): boolean {
    const own = this.#taken.get(uid) ?? 0;
    const all = [...this.#taken.values()].reduce((sum, taken) => sum + taken, 0);
    if (own >= this.#each || all >= this.#all) return false;
    this.#taken.set(uid, own + 1);
    return true;
  }

  giveBack(uid: number): void {
    const left = this.#taken.get(uid)! - 1;
    if (left > 0) this.#taken.set(uid, left);
    else this.#taken.delete(uid);
  }
}
