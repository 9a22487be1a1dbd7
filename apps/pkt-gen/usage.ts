// What pkt-gen says of itself (spec apps §1.1).

export const USAGE = `usage: pkt-gen -i PORT [-f FUNCTION] [options]
Generates, receives and measures traffic on a netmap port.
  -i PORT     vale0:a, vale0:a{1, netmap:x}1, ...; netmap: is put in front of other names
  -f FUNCTION tx rx ping pong txseq rxseq (default rx)
  -n COUNT    packets to send or receive, over all threads (default 0: no limit); not for txseq
  -l SIZE     frame size without CRC, 16 to 65535 (default 60); given again: the least size of a random one
  -b BURST    most packets per look at a ring (default 512; ping and pong 1)
  -4, -6      frames of IPv4 (default) or IPv6; the last one given holds
  -d RANGE    destination address and UDP port (default 10.1.0.1:1234 or [fd00::2]:1234): single, or LO-HI,
              each ADDRESS[:PORT]; of IPv6 [G@]ADDRESS or [G@][ADDRESS]:PORT, whose 16-bit group G is counted
              (0 to 7, default 7)
  -s RANGE    source address and UDP port (default 10.0.0.1:1234 or [fd00::1]:1234)
  -z          any source address and port, another for each packet
  -Z          any destination address and port
  -D MAC      destination MAC (default ff:ff:ff:ff:ff:ff)
  -S MAC      source MAC (default: of the network interface; of other ports 00:00:00:00:00:00)
  -F SLOTS    slots per packet, 1 to 63 (default 1); txseq: numbered frames per packet
  -M BYTES    most bytes per slot (default: what a buffer holds)
  -H BYTES    virtio-net header in front of each frame: 0, 10 or 12 (default: what the port has)
  -R PPS      packets per second and thread (default 0: as fast as it goes)
  -P FILE     send every frame of a capture, in order: once, or round and round until -n are sent;
              a switch does not learn the capture's addresses (NS_NO_LEARN)
  -r          send whatever the buffers hold
  -w SECONDS  wait so long between opening the port and starting (default 2; VALE ports and pipes 0)
  -W          rx, rxseq: end when nothing came for a second after the first packet
  -p THREADS  threads, one ring each (default 1)
  -c CPUS     CPUs to use, 0 = all (default 1)
  -a CPU      keep thread i on CPU (CPU + i) mod CPUS (default -1: do not)
  -C SIZES    slots and rings of a port made by this: TXSLOTS[,RXSLOTS[,TXRINGS[,RXRINGS]]]; @conf: says it, too
  -T MS       time between reports (default 1000)
  -A          reports show mean and standard deviation of the rate
  -B          count 24 more bytes a packet, CRC and gap, in bit rates
  -N          do not shorten numbers with K, M, G
  -X          dump every packet sent or received
  -o BITS     options by number: 4 or 8 copy each frame, 4096 lengths and checksums follow a random size;
              64 is -X, 256 -r, 512 -z, 1024 -Z, 2048 -A; 1, 2 and 16 change nothing
  -v          say more at the start
  -h          this text
Exit status: 0 done, 1 an error, and standard error says which.
`;
