"""How the bench measures, in the words of its page."""

from figures import CONNECTIONS, HELD, INTERVAL, SLOW_CONNECTIONS, SLOW_SHARE, STEPS, STREAMS

METHOD = f"""\
- **Cores.** One gateway at a time, with one worker, on a core of its own; upstream and client share the
  other core.
- **Rounds.** Each round starts, measures and stops every gateway in turn. A cell is the median of the
  rounds, with the least and the most.
- **Ratios** are those of the medians. What is *added* is computed within each round, against the client
  that asks the upstream without a gateway (`direct`) in the same round.
- **Processor time** is what the kernel has accounted to the threads of the gateway's processes, user and
  system together (`schedstat` in `/proc`), read at both ends of a window.
- **Chunks.** {STREAMS} streams over as many connections, each with a client's key of its own, a chunk of
  about 270 bytes each {INTERVAL * 1e3:g} ms; the streams are not in step. A gateway that this would
  saturate gets as many chunks as keep {SLOW_SHARE:.0%} of its core busy, and its row says so.
- **JSON.** `wrk` with one thread and {CONNECTIONS} connections, {SLOW_CONNECTIONS} for a gateway that is
  slow. The time of single requests, of first events and of chunks is taken by a client in C; each event
  carries the moment of its sending.
- **Streams without a gap.** {", ".join(map(str, STEPS))} in turn, until the longest silence of any
  stream is over twice the interval. A number has two tries.
- **Memory.** Resident set of all the gateway's processes. {HELD} streams have a chunk each 100 ms,
  or more rarely where the gateway is slow. What a stream takes includes what the first requests bring
  with them.
- **Upstream.** A program in C with one thread. With the gateway's core for itself it should answer three
  times what the best gateway does, or the row of `direct` says so.
- **TLS.** A certificate for localhost from an authority of the bench's own, which the gateways verify.
- **Autopilot** runs as users run it, every setting at its default: catalogue and feed are refreshed,
  models ranked, clients kept, metrics counted, a line is logged for each request (to a file), and the
  request names the alias, so that it has to be rewritten. nginx and HAProxy look at nothing.
"""
