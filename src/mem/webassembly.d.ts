// The part of the WebAssembly JavaScript interface that we use; TypeScript knows it only with the browser's DOM.
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array);
  }
  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, unknown>>);
    readonly exports: Record<string, unknown>;
  }
  class Memory {
    constructor(limits: { initial: number; maximum: number; shared: boolean });
    readonly buffer: SharedArrayBuffer;
  }
  class Table {
    /** @returns the place of the first new entry */
    grow(by: number): number;
    set(index: number, value: unknown): void;
  }
  class Global {
    value: number;
  }
  /** A trap. */
  class RuntimeError extends Error {}
  class CompileError extends Error {}
}
