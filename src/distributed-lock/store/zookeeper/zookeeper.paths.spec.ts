import { describe, expect, it } from 'vitest';
import { lockKey } from '../../key/lock-key.js';
import { isNodePath } from './wire/connect-string.js';
import { nodeName } from './zookeeper.paths.js';

describe('the node of a key', () => {
  it.each([
    ['application:42', 'application:42'],
    ['job1', 'job1'],
    ['a/b', 'a%2Fb'],
    ['a%2Fb', 'a%252Fb'],
    ['.', '%2E'],
    ['..', '%2E%2E'],
    ['...', '...'],
    ['a b\n', 'a%20b%0A'],
    ['한', '%ED%95%9C'],
    ['🔒', '%F0%9F%94%92'],
  ])('%j is %j', (key, name) => {
    expect(nodeName(lockKey(key))).toBe(name);
  });

  it('is allowed by ZooKeeper, and can be read back, for every character', () => {
    for (let code = 0; code < 0x11000; code += 1) {
      const character = String.fromCodePoint(code);
      if (!character.isWellFormed()) continue;
      const name = nodeName(lockKey(`k${character}`));
      expect(isNodePath(`/${name}`), name).toBe(true);
      expect(decodeURIComponent(name)).toBe(`k${character}`);
    }
  });
});
