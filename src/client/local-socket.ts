// Sockets between programs of one user on one machine, known by a file; what they are is the system's affair.

import net from 'node:net';
import { os } from '../os/index.ts';

/** Has a server listen; other users are kept off. */
export function listenLocally(server: net.Server, file: string, listening: () => void): void {
  const address = os.newSocketAddress(file);
  server.listen(address, () => {
    os.guardSocket(address);
    listening();
  });
}

/** A socket that is connecting, or undefined where nobody has ever listened. */
export function connectLocally(file: string): net.Socket | undefined {
  const address = os.socketAddress(file);
  return address === undefined ? undefined : net.connect(address);
}
