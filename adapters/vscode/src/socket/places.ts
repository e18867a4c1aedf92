// Where the daemon's socket may be: the rule of umad/socket_path.py, and the check of its folder.

import { statSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { UmadError } from "./errors";

export interface Surroundings {
  environ: Readonly<Record<string, string | undefined>>;
  platform: string;
  uid: number;
  // The user's own, where HOME may be another's.
  home: string;
}

// sun_path of struct sockaddr_un, less the closing NUL.
const LIMIT_BYTES = (platform: string): number => (platform === "linux" ? 107 : 103);

// Every path at which a daemon of this user may listen, best first. `named` is the setting's.
export function socketPlaces(named: string, at: Surroundings): string[] {
  const given = named || at.environ["UMAD_SOCKET"];
  if (given) {
    if (Buffer.byteLength(given) > LIMIT_BYTES(at.platform)) {
      throw new UmadError("bad_config", `the socket's path is too long for this system: ${given}`);
    }
    return [given];
  }
  const runtime = at.environ["XDG_RUNTIME_DIR"] ?? "";
  const state = at.platform === "darwin" ? "Library/Application Support" : ".local/state";
  const folders = [
    isAbsolute(runtime) ? runtime : "",
    at.environ["HOME"] ? join(at.environ["HOME"], state) : "",
    at.platform === "linux" ? `/run/user/${at.uid}` : "",
    at.home ? join(at.home, state) : "",
  ];
  const paths = folders.filter(Boolean).map((folder) => join(folder, "umad", "umad.sock"));
  return [...new Set(paths)].filter((path) => Buffer.byteLength(path) <= LIMIT_BYTES(at.platform));
}

// Throws where others may replace the socket: a prompt goes to whoever listens there. Node does not
// tell who is at the other end, so the folder is what can be looked at.
export function checkFolder(path: string, uid: number): void {
  const folder = dirname(path);
  let found;
  try {
    found = statSync(folder);
  } catch {
    return; // connecting says it better
  }
  const othersWrite = (found.mode & 0o022) !== 0 && (found.mode & 0o1000) === 0;
  if (found.uid !== uid && found.uid !== 0) {
    throw new UmadError("refused", `the socket's folder ${folder} belongs to another user`);
  }
  if (othersWrite) {
    throw new UmadError("refused", `others may write to the socket's folder: chmod go-w '${folder}'`);
  }
}
