/**
 * A binary heap over slots 0..n-1 that knows its lowest slot: lowest key first, and among equal keys the smaller
 * (older) id. Appending and re-keying a slot cost O(log n). The order is total, so the heap's layout never shows.
 */
export class LowestFirstHeap {
  private readonly keys: number[] = [];
  private readonly ids: number[] = [];
  /** heap[position] = slot, and positions[slot] = position. */
  private readonly heap: number[] = [];
  private readonly positions: number[] = [];

  /** The slot with the lowest key, or undefined when empty. */
  lowest(): number | undefined {
    return this.heap[0];
  }

  keyOf(slot: number): number | undefined {
    return this.keys[slot];
  }

  /** Sets key and id of `slot`; `slot` is a present one, or the next new one. */
  set(slot: number, key: number, id: number): void {
    this.keys[slot] = key;
    this.ids[slot] = id;
    if (slot === this.heap.length) {
      this.positions[slot] = slot;
      this.heap.push(slot);
    }
    const position = this.siftUp(this.positions[slot] as number);
    this.siftDown(position);
  }

  private isBefore(a: number, b: number): boolean {
    const keyA = this.keys[a] as number;
    const keyB = this.keys[b] as number;
    return keyA < keyB || (keyA === keyB && (this.ids[a] as number) < (this.ids[b] as number));
  }

  private siftUp(start: number): number {
    let position = start;
    while (position > 0) {
      const parent = (position - 1) >> 1;
      if (!this.isBefore(this.heap[position] as number, this.heap[parent] as number)) break;
      this.swap(position, parent);
      position = parent;
    }
    return position;
  }

  private siftDown(start: number): void {
    let position = start;
    for (;;) {
      let next = position;
      for (const child of [2 * position + 1, 2 * position + 2]) {
        if (child >= this.heap.length) continue;
        if (this.isBefore(this.heap[child] as number, this.heap[next] as number)) next = child;
      }
      if (next === position) return;
      this.swap(position, next);
      position = next;
    }
  }

  private swap(a: number, b: number): void {
    const slotA = this.heap[a] as number;
    const slotB = this.heap[b] as number;
    this.heap[a] = slotB;
    this.heap[b] = slotA;
    this.positions[slotB] = a;
    this.positions[slotA] = b;
  }
}
