/**
 * The one error type that crosses our public surface.  `code` is the errno name that netmap's manual
 * promises for the situation (spec api §3.5); callers match on it, people read the message.
 */
export class NetmapError extends Error {
  override readonly name = 'NetmapError';
  readonly code: ErrnoName;

  /** @param message one sentence: what was asked, what was found, what to do. */
  constructor(code: ErrnoName, message: string) {
    super(message);
    this.code = code;
  }
}

/** Errno values as Linux numbers them; the binary protocol and exit texts use the numbers. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  ENXIO: 6,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  EPIPE: 32,
  EPROTO: 71,
  EMSGSIZE: 90,
  EOPNOTSUPP: 95,
  ECONNREFUSED: 111,
  ETIMEDOUT: 110,
} as const;

export type ErrnoName = keyof typeof ERRNO;
