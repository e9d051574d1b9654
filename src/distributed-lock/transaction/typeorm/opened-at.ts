import { relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A captured call stack. V8 formats it only when `stack` is read, so that capturing is cheap and reading is not. */
export interface Place {
  readonly stack?: string;
}

/** Enough to get through the frames of TypeORM and Nest to the caller. */
const DEPTH = 40;

const LIBRARY = fileURLToPath(new URL('../../', import.meta.url));

/** @returns the current call stack. */
export function captureStack(): Place {
  const place = {};
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = DEPTH;
  Error.captureStackTrace(place, captureStack);
  Error.stackTraceLimit = limit;
  return place;
}

/**
 * @returns the first frame of the application, such as `Bar.checkout (src/bar.ts:41:7)`; of an installed package, if
 * that opened the transaction without the application; `null` if neither TypeORM nor Node were called by anybody else.
 */
export function describePlace(place: Place): string | null {
  const frames = (place.stack ?? '').split('\n').map(parseFrame);
  const outside = frames
    .filter((frame) => frame !== null)
    .filter((frame) => !isPlumbing(frame.file));
  const frame =
    outside.find(({ file }) => !file.includes(`${sep}node_modules${sep}`)) ?? outside[0];
  if (frame === undefined) return null;
  const file = `${shorten(frame.file)}:${frame.position}`;
  return frame.caller === undefined ? file : `${frame.caller} (${file})`;
}

interface StackFrame {
  readonly caller: string | undefined;
  readonly file: string;
  /** `line:column`. */
  readonly position: string;
}

function parseFrame(line: string): StackFrame | null {
  const match = /^\s*at (?:async )?(?:(.+?) \()?([^()]+?):(\d+:\d+)\)?$/.exec(line);
  if (match === null) return null;
  const [, caller, location, position] = match;
  return {
    caller: caller === '<anonymous>' ? undefined : caller,
    file: location!.startsWith('file:') ? fileURLToPath(location!) : location!,
    position: position!,
  };
}

function isPlumbing(file: string): boolean {
  return (
    file.startsWith('node:') ||
    file.startsWith(LIBRARY) ||
    file.includes(`${sep}node_modules${sep}typeorm${sep}`)
  );
}

function shorten(file: string): string {
  const path = relative(process.cwd(), file);
  return path.startsWith('..') ? file : path;
}
