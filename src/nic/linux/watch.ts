import { parseLink } from '../../os/linux/interfaces.ts';
import { Netlink, RTM_DELLINK, RTM_NEWLINK, RTMGRP_LINK } from '../../os/linux/netlink.ts';
import type { LinkNews } from '../nic.ts';

const LOOK_MS = 50;

/** Tells what becomes of interfaces. @returns what ends it */
export function watchLinks(tell: (news: LinkNews) => void): () => void {
  const netlink = new Netlink(RTMGRP_LINK);
  const timer = setInterval(() => {
    for (const { type, body } of netlink.news()) {
      if (type === RTM_DELLINK || type === RTM_NEWLINK)
        tell({ gone: type === RTM_DELLINK, nic: parseLink(body) });
    }
  }, LOOK_MS);
  timer.unref();
  return () => {
    clearInterval(timer);
    netlink.close();
  };
}
