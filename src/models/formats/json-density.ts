const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_LIST = 0x5b;
const OPEN_OBJECT = 0x7b;

/**
 * Number of values in a JSON text, without building any: one for each list, object and comma outside strings. A parsed
 * value takes some 50 bytes however few it has in the text (`[],` is three), so a reader bounds it before it parses. On
 * text that is no JSON the number means nothing, and the parser refuses it anyway.
 */
export function countJsonValues(bytes: Uint8Array): number {
  let count = 1;
  let isInString = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (isInString) {
      if (byte === BACKSLASH) i++;
      else if (byte === QUOTE) isInString = false;
    } else if (byte === QUOTE) isInString = true;
    else if (byte === COMMA || byte === OPEN_LIST || byte === OPEN_OBJECT) count++;
  }
  return count;
}
