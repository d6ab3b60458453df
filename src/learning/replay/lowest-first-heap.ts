/**
 * A binary heap over slots 0..n-1 that knows its lowest slot: lowest key first, and among equal keys the smaller
 * (older) id. Appending and re-keying a slot cost O(log n). The order is total, so the heap's layout never shows.
 */
export class LowestFirstHeap {
  private readonly ids: number[] = [];
  /** heap[position] = slot, keys[position] = its key, and positions[slot] = position. */
  private readonly heap: number[] = [];
  private readonly keys: number[] = [];
  private readonly positions: number[] = [];

  /** The slot with the lowest key, or undefined when empty. */
  lowest(): number | undefined {
    return this.heap[0];
  }

  keyOf(slot: number): number | undefined {
    const position = this.positions[slot];
    return position === undefined ? undefined : this.keys[position];
  }

  /** Sets key and id of `slot`; `slot` is a present one, or the next new one. */
  set(slot: number, key: number, id: number): void {
    this.ids[slot] = id;
    const position = this.positions[slot] ?? this.heap.length;
    this.place(slot, key, this.siftDown(slot, key, this.siftUp(slot, key, position)));
  }

  private place(slot: number, key: number, position: number): void {
    this.heap[position] = slot;
    this.keys[position] = key;
    this.positions[slot] = position;
  }

  private move(from: number, to: number): void {
    this.place(this.heap[from] as number, this.keys[from] as number, to);
  }

  /** True when the slot at `position` comes before `slot` with `key`. */
  private isBefore(position: number, slot: number, key: number): boolean {
    const other = this.keys[position] as number;
    if (other !== key) return other < key;
    return (this.ids[this.heap[position] as number] as number) < (this.ids[slot] as number);
  }

  /** Moves those that come after `slot` down from above `start`. Returns the free position. */
  private siftUp(slot: number, key: number, start: number): number {
    let free = start;
    while (free > 0) {
      const parent = (free - 1) >> 1;
      if (this.isBefore(parent, slot, key)) break;
      this.move(parent, free);
      free = parent;
    }
    return free;
  }

  /** Moves those that come before `slot` up from below `start`. Returns the free position. */
  private siftDown(slot: number, key: number, start: number): number {
    let free = start;
    for (;;) {
      const left = 2 * free + 1;
      if (left >= this.heap.length) return free;
      const right = left + 1;
      const isRight =
        right < this.heap.length && this.isBefore(right, this.heap[left] as number, this.keys[left] as number);
      const child = isRight ? right : left;
      if (!this.isBefore(child, slot, key)) return free;
      this.move(child, free);
      free = child;
    }
  }
}
