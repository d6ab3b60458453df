/**
 * Longest text that a judge reads, in UTF-16 units. Stops a target that floods a judge with megabytes: what lies
 * beyond is not read. Real responses (a few hundred tokens) are a hundred times shorter.
 */
export const MAX_JUDGED_UNITS = 65_536;

/** The first `MAX_JUDGED_UNITS` of `text`, for judges that read from the start. */
export function judgedHead(text: string): string {
  return text.length <= MAX_JUDGED_UNITS ? text : text.slice(0, MAX_JUDGED_UNITS);
}

/** The last `MAX_JUDGED_UNITS` of `text`, for judges that keep the end. */
export function judgedTail(text: string): string {
  return text.length <= MAX_JUDGED_UNITS ? text : text.slice(-MAX_JUDGED_UNITS);
}
