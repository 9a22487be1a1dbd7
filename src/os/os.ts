/**
 * What we ask of an operating system: the only interface behind which system calls are made.  Everything
 * above it is portable; `os/linux/` implements it, other systems are further folders like that one.
 */
export interface Os {
  readonly name: string;

  // ---- memory ----

  /** Address of a buffer that never moves (the store of a WebAssembly.Memory). */
  addressOf(bytes: Uint8Array): number;
  /**
   * Makes memory that the runtime has reserved ready for map(), before anything is in it.
   * @param committed  so much from `address` on is this process's own, zeroed
   * @returns places, a map unit each, that something else of the process has taken
   */
  prepare(address: number, size: number, committed: number): readonly number[];
  /** Makes [address, address + size) of it this process's own memory, zeroed. @throws NetmapError ENOMEM. */
  commit(address: number, size: number): void;
  /**
   * Makes an anonymous object of `size` bytes, zero-filled, that nobody can shrink, grow or unseal.
   * @throws NetmapError ENOMEM, EMFILE.
   */
  createObject(name: string, size: number): MemoryObject;
  /** Opens an object that another process (or this one) holds. @throws NetmapError ENOENT, EACCES, EINVAL. */
  openObject(ref: ObjectRef): MemoryObject;
  /** Objects are mapped at multiples of it, counted from where prepare() began. */
  readonly mapUnit: number;
  /**
   * Puts an object over [address, address + size).
   * @returns false: something else of this process has taken the place; nothing may ever be mapped there
   * @throws NetmapError ENOMEM.
   */
  map(address: number, size: number, fd: number): boolean;
  /** Takes it away again: what is left reads as zero.  @returns as map() does */
  unmap(address: number, size: number): boolean;
  /** Commits memory now rather than at first touch.  @throws NetmapError ENOMEM where there is none. */
  populate(address: number, size: number): void;
  /**
   * Opens an object that a client brings, known by its descriptor alone.
   * @throws NetmapError EFAULT: none there, or one that its owner could cut off under us (not sealed).
   */
  takeObject(pid: number, fd: number): MemoryObject;
  /** Writes an object from its start. */
  writeObject(fd: number, bytes: Uint8Array): void;
  /** Reads an object from its start. */
  readObject(fd: number, bytes: Uint8Array): void;
  /** A name by which other programs can open an object, as long as this process holds it. */
  objectPath(fd: number): string;
  closeFd(fd: number): void;
  /** Puts what a device's descriptor has at an offset over [address, address + size). @returns as map() does @throws NetmapError. */
  mapDevice(fd: number, address: number, size: number, offset: number): boolean;
  /** Has a NIC's queue send what is in its TX ring: 0, or the errno. */
  kick(fd: number): number;
  /** Reads a frame that was too long for a queue's ring to an address. @returns its length, -1 where there is none */
  receive(fd: number, address: number, size: number): number;
  /** Takes note of what poll() has shown as POLLERR of a NIC's queue, so that it does not show it again. */
  clearError(fd: number): void;
  /** Bytes that new shared memory can still take before the machine is out of it. */
  availableMemory(): number;

  // ---- waiting ----

  /** A doorbell of this thread: others ring it, we wait on `fd`. */
  createBell(): BellPipe;
  /** Opens the ringing side of a bell elsewhere; -1 where it is gone. */
  openBell(pid: number, fd: number, ino: number): number;
  /** Rings; false if nobody is at the other side any more. */
  ring(fd: number): boolean;
  /** Empties a bell after it rang. */
  drainBell(fd: number): void;
  /** Has the event loop call `rung` each time the bell rings (and was emptied), while it is listened to. */
  watchBell(fd: number, rung: () => void): BellWatch;
  /**
   * Blocks this thread until a descriptor is ready or the time is over.
   * @param fds  records of 8 bytes as poll(2) has them; revents are filled in
   * @param timeoutMs  fractions count; negative: for ever
   * @returns how many are ready; 0 on time-out or interruption
   */
  poll(fds: Uint8Array, count: number, timeoutMs: number): number;

  /** poll() by another thread, for descriptors that the event loop cannot watch. */
  pollElsewhere(fds: Uint8Array, count: number, timeoutMs: number): Promise<void>;
  /** An event counter (eventfd): readable once signalled. */
  createEvent(): number;
  /** Signals an event counter; false if it is none. */
  signalEvent(fd: number): boolean;
  /** Empties an event counter. */
  clearEvent(fd: number): void;

  // ---- descriptors handed to another process ----

  /**
   * Sends a line of text and descriptors to whoever is at the other end of a connected unix socket; never waits.
   * @throws NetmapError EAGAIN: no room there; EPIPE: nobody is there.
   */
  sendDescriptors(socket: number, text: string, fds: readonly number[]): void;
  /**
   * Connects to the unix socket `path`, says `request` there, and waits, blocking this thread, for a line of text and
   * what comes with it.  A net.Socket would lose the descriptors.
   * @throws NetmapError ETIMEDOUT, EPIPE, EMFILE, and what connecting answers.
   */
  receiveDescriptors(path: string, request: string, timeoutMs: number): Received;
  /** Who connected a unix socket, as the system says. */
  peerOf(socket: number): Peer;
  /** Two ends of a line that two processes ring each other by; what one does to its end is not seen at the other. */
  createLine(): [number, number];
  /** What an object's descriptor stands for. */
  objectAt(fd: number): MemoryObject;

  // ---- processes ----

  /** A descriptor of another process, as one of our own. @throws NetmapError EINVAL: it has none of that number. */
  takeDescriptor(pid: number, fd: number): number;

  /** What a descriptor stands for, in words that are the same in every process; '' for what has no such name. */
  identityOf(fd: number): string;
  /** Where these processes hold what, by identity. */
  holdersOf(pids: readonly number[]): ReadonlyMap<string, { pid: number; fd: number }>;

  /** When a process was started, in ticks since boot; '' if there is none: tells a pid used again from the old one. */
  startTime(pid: number): string;
  /** Lets others have this CPU, if any of them wait for it. */
  giveWay(): void;
  /** Keeps this thread on one CPU. @throws NetmapError EINVAL. */
  pinThread(cpu: number): void;
  /** Takes the lock file for the life of this process; -1 if somebody has it. */
  lockFile(path: string): number;
  /** True if the system has a network interface of that name. */
  hasInterface(name: string): boolean;
  /** Opens objects, by inode and size, that one of these processes holds; undefined where none does. */
  objectFinder(pids: readonly number[]): (ino: number, size: number) => MemoryObject | undefined;
  /** Every object called `name` that some living process of this user holds. */
  findObjects(name: string): ObjectRef[];

  // ---- permanent installation ----

  /**
   * Has the system run a program from boot on, for a runtime directory; starts it now where that is possible.
   * @returns a sentence that says what was done
   * @throws NetmapError EEXIST, EACCES.
   */
  installService(command: readonly string[], directory: string): string;
  /** Undoes all of it. @throws NetmapError ENOENT, EACCES. */
  uninstallService(): string;
  /** Called by a program that the system runs so: `stop` is called when it is to end. */
  runAsService(stop: () => void): void;

  // ---- the control socket ----

  /** The runtime directory of this user where the environment names none. */
  defaultDirectory(env: NodeJS.ProcessEnv): string;
  /** Makes a directory that is the user's alone. @throws Error that says why it cannot be. */
  ownDirectory(path: string): void;
  /** Where what a module is to remember between its runs is written down. */
  settingsDirectory(runtimeDirectory: string): string;
  /** Number of a group by name or number. @throws NetmapError ENOENT. */
  groupId(name: string): number;
  /**
   * Lets users of these groups come to the socket in a directory, and nobody else than the owner; with more groups than
   * the system can name there, everybody, whom the module then has to refuse.
   * @throws NetmapError EPERM: not groups of ours.
   */
  admitGroups(directory: string, socket: string, groups: readonly number[]): void;
  /** What to connect to for the socket file; undefined if there is none. */
  socketAddress(file: string): string | undefined;
  /** What to listen on, so that others find it by the socket file. */
  newSocketAddress(file: string): string;
  /** Keeps other users off a socket that is being listened on. @throws NetmapError EACCES. */
  guardSocket(address: string): void;
}

/** A bell that the event loop may listen to. */
export interface BellWatch {
  /** Listens, and keeps the process running. */
  ref(): void;
  unref(): void;
  /** Stops, and closes the bell's descriptor, too. */
  close(): void;
}

/** Where to find an object: descriptor `fd` of process `pid`, which must be inode `ino` of `size` bytes. */
export interface ObjectRef {
  pid: number;
  fd: number;
  ino: number;
  size: number;
}

export interface MemoryObject {
  fd: number;
  size: number;
  /** Low 32 bits of the inode number. */
  ino: number;
}

/** What receiveDescriptors() got: a line of text, and descriptors that are the caller's now. */
export interface Received {
  text: string;
  fds: number[];
}

/** Credentials of the process at the other end of a socket, from when it connected. */
export interface Peer {
  pid: number;
  uid: number;
  gid: number;
  /** All groups that it is of. */
  groups: readonly number[];
}

export interface BellPipe {
  /** Waiting side. */
  fd: number;
  ino: number;
  close(): void;
}
