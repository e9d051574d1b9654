import { describe, expect, it } from 'vitest';
import { FrameSplitter } from './frames.js';
import { JuteReader, JuteWriter } from './jute.js';
import { Watches } from './watches.js';

describe('frames', () => {
  const frame = (text: string) => new JuteWriter().text(text).frame();
  const texts = (frames: readonly Buffer[]) => frames.map((it) => new JuteReader(it).text());
  const stream = Buffer.concat([frame('one'), frame(''), frame('x'.repeat(1_000)), frame('4')]);

  it.each([1, 2, 3, 5, 7, 11, 500, 5_000])('arrive whole in pieces of %i bytes', (size) => {
    const splitter = new FrameSplitter();
    const arrived: string[] = [];
    for (let at = 0; at < stream.length; at += size)
      arrived.push(...texts(splitter.push(stream.subarray(at, at + size))));
    expect(arrived).toEqual(['one', '', 'x'.repeat(1_000), '4']);
  });

  it('of an absurd length are refused: something else answers on that port', () => {
    const splitter = new FrameSplitter();
    expect(() => splitter.push(Buffer.from('HTTP/1.1 400 Bad Request'))).toThrow(RangeError);
  });
});

describe('jute', () => {
  it('reads what it writes', () => {
    const list = ['a', '한글', 'y'.repeat(3_000)];
    const writer = new JuteWriter()
      .int(-5)
      .long(-(2n ** 40n))
      .bool(true);
    const bytes = writer.list(list, (it) => writer.text(it)).frame();
    const reader = new JuteReader(bytes.subarray(4));
    expect(reader.int()).toBe(-5);
    expect(reader.long()).toBe(-(2n ** 40n));
    reader.skip(1);
    expect(reader.list(() => reader.text())).toEqual(list);
  });

  it('refuses a frame that ends too early', () => {
    const bytes = new JuteWriter().text('a longer text').frame();
    expect(() => new JuteReader(bytes.subarray(4, 12)).text()).toThrow(RangeError);
    expect(() => new JuteReader(bytes.subarray(4, 6)).int()).toThrow(RangeError);
  });
});

describe('watches', () => {
  it('tell each listener once', () => {
    const watches = new Watches();
    const told: string[] = [];
    watches.add('/a', (event) => told.push(`1 ${event}`));
    watches.add('/a', (event) => told.push(`2 ${event}`));
    watches.tell('/a', 'deleted');
    watches.tell('/a', 'deleted');
    watches.tellAll('session-ended');
    expect(told).toEqual(['1 deleted', '2 deleted']);
  });

  it('are restored in packets that a server accepts', () => {
    const watches = new Watches();
    const paths = Array.from({ length: 1_000 }, (_, n) => `/${n}${'x'.repeat(500)}`);
    for (const path of paths) watches.add(path, () => undefined);
    const packets = [...watches.packets()];
    expect(packets.flat()).toEqual(paths);
    expect(packets.length).toBeGreaterThan(3);
    for (const packet of packets) expect(packet.join('').length).toBeLessThan(128 * 1_024);
  });
});
