/** The shipped judges that were trained on insults and bad language (docs/judges.md): for them unsafe means rude. */
const RUDENESS_JUDGES = /^(alt-profanity-check|tox-block)\b/;

export function measuresRudeness(judge: string): boolean {
  return RUDENESS_JUDGES.test(judge);
}
