import { NetmapError } from '../../abi/errors.ts';
import type { OpenDevice } from '../nic.ts';

/** XDP-for-Windows would play here what AF_XDP plays on Linux; frames do not go through it yet. */
export const openDevice: OpenDevice = ({ name }) => {
  throw new NetmapError(
    'EOPNOTSUPP',
    `Cannot open "${name}": network interfaces are not supported on Windows by this version; switches and pipes are`,
  );
};

export const openEndpoint = (name: string): never => {
  throw new NetmapError('EOPNOTSUPP', `Cannot make interface "${name}": not supported on Windows`);
};
export const ringsOf = () => 1;
export const whyEmulated = () => undefined;
export const missingPrivileges = () => undefined;
export const offloadsOn = () => [];
export const isNative = () => false;
export const watchLinks = () => () => {};
