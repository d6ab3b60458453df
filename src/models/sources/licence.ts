import { FloodgateError } from '../../base/errors.ts';

/** Licences of the models in the catalogue. */
export type Licence = 'Apache-2.0' | 'MIT' | 'llama3.2' | 'Gemma';

export interface LicenceTerms {
  /** Name for people. */
  readonly title: string;
  /** Where its text is. */
  readonly address: string;
  /**
   * Whether whoever pulls must accept it first: it binds the use of the model, and the source asks for no consent.
   * The hub asks for consent itself before it serves a gated model.
   */
  readonly needsConsent: boolean;
}

export const LICENCES: Readonly<Record<Licence, LicenceTerms>> = {
  'Apache-2.0': {
    title: 'Apache-2.0',
    address: 'https://www.apache.org/licenses/LICENSE-2.0',
    needsConsent: false,
  },
  MIT: { title: 'MIT', address: 'https://opensource.org/license/mit', needsConsent: false },
  'llama3.2': {
    title: 'Llama 3.2 Community License',
    address: 'https://www.llama.com/llama3_2/license/',
    needsConsent: false,
  },
  Gemma: { title: 'Gemma Terms of Use', address: 'https://ai.google.dev/gemma/terms', needsConsent: true },
};

/** The model about to be fetched, and its licence. */
export interface LicenceNotice {
  /** Name of the model. */
  readonly model: string;
  /** Undefined for a model outside the catalogue: Floodgate does not know its licence. */
  readonly terms: LicenceTerms | undefined;
}

/** Decides about one licence before anything is fetched. Returns whether it is accepted. */
export type LicenceDecision = (notice: LicenceNotice) => boolean | Promise<boolean>;

/** Whether this licence needs an answer: a licence that asks for no consent is accepted by its use. */
export const acceptOpenLicences: LicenceDecision = ({ terms }) => terms?.needsConsent !== true;

/** @throws FloodgateError `usage` unless `decide` accepts the licence. */
export async function ensureAccepted(notice: LicenceNotice, decide: LicenceDecision): Promise<void> {
  if (await decide(notice)) return;
  const { model, terms } = notice;
  const licence = terms === undefined ? 'its licence' : `the ${terms.title} (${terms.address})`;
  throw new FloodgateError('usage', `pull ${model}: ${licence} must be accepted first`, {
    hint: `read it, then: floodgate models pull ${model} --accept-licence`,
  });
}

/** One line that names the licence of a model. */
export function licenceLine({ model, terms }: LicenceNotice): string {
  if (terms === undefined) return `${model}: Floodgate does not know its licence; read it on the page of the model`;
  return `${model}: licence ${terms.title}, ${terms.address}`;
}
