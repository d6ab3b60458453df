// The English of this repository as data: phrases with their replacement, spellings, and limits.

/**
 * A phrase that the house does not use: [pattern, how it is reported, replacement].
 * Inline code is removed before matching, so identifiers and config keys in backticks are never reported.
 */
export const PHRASES = [
  [/\bst(?:ands?|ood) for\b/gi, 'stands for', 'is, means, represents'],
  [/\bst(?:ands?|ood) in for\b/gi, 'stands in for', 'replaces'],
  [/(?<!under-)\bst(?:ands?|ood|anding)(?! for\b| in for\b| out\b|-)\b/gi, 'stands', 'is, is stored'],
  [/\bg(?:ives?|ave|iving|iven) way\b/gi, 'gives way', 'answers unsafely, fails'],
  [/\bmend(?:s|ed|ing)?\b/gi, 'mend', 'fix, correct'],
  [/\bmade worlds?\b/gi, 'made world', 'synthetic world'],
  [/\btrain(?:s|ed|ing)? (?:again|anew)\b/gi, 'trained again', 'retrained'],
  [/\banew\b/gi, 'anew', 'again, from scratch'],
  [/\b(?:goes|go|went|gone|going) on\b/gi, 'goes on', 'resumes, continues'],
  [/\b(?:is|are|was|were|be|been|being) taken up\b/gi, 'is taken up', 'is resumed'],
  [/\b(?:that|this|these|those) very\b/gi, 'that very', 'that same, exactly that'],
  [/\b(?:said|says?|saying) (?:so )?plainly\b/gi, 'said plainly', 'state it'],
  [/\bnothing of (?:it|them|this|that)\b/gi, 'nothing of it', 'none of it'],
  [/\bh(?:angs?|ung|anging) on\b/gi, 'hangs on', 'depends on'],
  [/\bcr(?:y|ies|ied) wolf\b/gi, 'cries wolf', 'raises false alarms'],
  [/\bbabblers?\b/gi, 'babbler', 'name the symptom'],
];

/** [wrong, right]: misspellings, and American forms of words that this repository spells the British way. */
const SPELLINGS = `
  accross across|acheive achieve|acommodate accommodate|adress address|adresses addresses|adressed addressed
  agressive aggressive|alot "a lot"|arguement argument|begining beginning|beleive believe|calender calendar
  comparision comparison|concious conscious|consistant consistent|definately definitely|dependant dependent
  dissapear disappear|embarass embarrass|enviroment environment|existance existence|existant existent
  explaination explanation|finaly finally|foward forward|futher further|garantee guarantee|gaurantee guarantee
  goverment government|heigth height|hierachy hierarchy|immediatly immediately|implemention implementation
  incomming incoming|independant independent|inital initial|intial initial|knowlege knowledge|langauge language
  lenght length|liason liaison|maintainance maintenance|mispell misspell|neccessary necessary|necesary necessary
  noticable noticeable|occured occurred|occurence occurrence|occuring occurring|ommit omit|ommited omitted
  overide override|overriden overridden|paralell parallel|paramter parameter|parrallel parallel
  perfomance performance|persistant persistent|posible possible|precedance precedence|prefered preferred
  priviledge privilege|probabilty probability|proccess process|publically publicly|recieve receive
  recieved received|recomend recommend|refered referred|refering referring|relevent relevant
  reproducable reproducible|resouce resource|responsability responsibility|retreive retrieve|seperate separate
  seperated separated|seperately separately|similiar similar|specifed specified|succesful successful
  successfull successful|sucess success|suprise surprise|sytem system|targetted targeted|targetting targeting
  teh the|tempature temperature|thier their|threshhold threshold|transfered transferred|truely truly
  unneccessary unnecessary|untill until|usefull useful|visable visible|wich which|wierd weird|wihtout without
  writting writing|yeild yield
  analyze analyse|analyzed analysed|behavior behaviour|behaviors behaviours|canceled cancelled
  canceling cancelling|center centre|centered centred|color colour|colors colours|defense defence|favor favour
  generalize generalise|generalized generalised|initialize initialise|initialized initialised
  initializes initialises|labeled labelled|labeling labelling|maximize maximise|maximizes maximises
  minimize minimise|minimizes minimises|modeled modelled|modeling modelling|neighbor neighbour
  neighbors neighbours|normalize normalise|normalized normalised|normalizes normalises|optimize optimise
  optimized optimised|optimizes optimises|organize organise|organized organised|quantize quantise
  quantized quantised|recognize recognise|recognized recognised|serialize serialise|serialized serialised
  standardize standardise|summarize summarise|summarized summarised|utilize use|vectorize vectorise`;

export const SPELLING = new Map(
  SPELLINGS.trim()
    .split(/[|\n]\s*/)
    .map((entry) => {
      const [wrong, ...right] = entry.trim().split(' ');
      return [wrong, right.join(' ')];
    }),
);

/** Words of the longest sentence that a page may have, by its path from the root. */
export function sentenceLimit(path) {
  return ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md'].includes(path) ? 25 : 40;
}

/** Characters of the longest line of Markdown prose, link addresses not counted. */
export const MAX_LINE = 120;
