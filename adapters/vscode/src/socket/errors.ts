// Errors of the socket: the daemon's own, by their stable code, and those found on this side.

export class UmadError extends Error {
  constructor(
    // As in umad/protocol/README.md; here also no_daemon, connection_lost, cancelled.
    readonly code: string,
    message: string,
    readonly retryable = false,
    // The field of the request that is wrong.
    readonly field: string | null = null,
  ) {
    super(message);
    this.name = "UmadError";
  }
}

export const noDaemon = (path: string): UmadError =>
  new UmadError("no_daemon", `no daemon listens on ${path}; start one: umad serve`, true);

export const connectionLost = (): UmadError =>
  new UmadError("connection_lost", "the daemon closed the connection", true);

export const cancelled = (): UmadError => new UmadError("cancelled", "cancelled");

// Says which side is to be upgraded. `theirs` is null where the daemon did not say it.
export function wrongVersion(ours: number, theirs: number | null, server: string): UmadError {
  const who =
    theirs === null
      ? "upgrade whichever is older: umad or this extension"
      : theirs > ours
        ? "this extension is older: upgrade the extension"
        : "the daemon is older: upgrade umad";
  const they = theirs === null ? "another version" : `version ${theirs}`;
  return new UmadError(
    "unsupported_version",
    `the daemon${server ? ` (${server})` : ""} speaks ${they} of the protocol, this extension ${ours}; ${who}`,
  );
}
