import { readFileSync } from 'node:fs';

/** A script by the name of its file; one without `numberOfKeys` is told with each call. */
export interface ScriptFile {
  readonly file: string;
  readonly numberOfKeys: number | undefined;
}

interface ScriptedClient {
  defineCommand(
    name: string,
    definition: { readonly lua: string; readonly numberOfKeys?: number },
  ): void;
}

/**
 * Makes scripts commands of a client: sent as EVALSHA, and as EVAL once per socket.
 *
 * @param folder where the `.lua` files are, ending in `/`.
 * @param prelude text in front of each script.
 */
export function defineScripts(
  client: ScriptedClient,
  folder: URL,
  scripts: Readonly<Record<string, ScriptFile>>,
  prelude = '',
): void {
  for (const [name, { file, numberOfKeys }] of Object.entries(scripts)) {
    const lua = `${prelude}${luaSource(folder, file)}`;
    client.defineCommand(name, numberOfKeys === undefined ? { lua } : { lua, numberOfKeys });
  }
}

export function luaSource(folder: URL, file: string): string {
  return readFileSync(new URL(`${file}.lua`, folder), 'utf8');
}
