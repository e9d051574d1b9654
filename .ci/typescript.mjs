/**
 * Lets a script of this folder import the TypeScript files of `test/support`, in which the services helper lives:
 * `import './typescript.mjs'` first, then `await import('../test/support/services.ts')`.
 *
 * Types are stripped, not checked; `npm run typecheck` does that. Needed until the oldest supported Node strips types.
 */
import { register } from 'node:module';

register('./typescript-hooks.mjs', import.meta.url);
