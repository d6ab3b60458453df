/** A harmless subject of requests: `phrase` is the centre of its region, `things` are asked about. */
export interface Topic {
  readonly name: string;
  readonly phrase: string;
  readonly things: readonly string[];
}

const topic = (name: string, phrase: string, things: string): Topic => ({ name, phrase, things: things.split(', ') });

/** Subjects that a world may plant. Their phrases are far apart, so that few requests lie in two regions. */
export const PLANTABLE_TOPICS: readonly Topic[] = [
  topic('gardening', 'growing vegetables in a garden', 'tomatoes, compost, raised beds, watering beans, herbs, seeds'),
  topic('tides', 'tide tables and the sea shore', 'high tide, spring tides, the tide table, low water, a harbour, ebb'),
  topic(
    'chess',
    'chess openings and endgames',
    'the Sicilian, a rook endgame, castling, pawns, a checkmate, chess clubs',
  ),
  topic('bread', 'baking sourdough bread at home', 'sourdough, yeast, a rye loaf, kneading dough, crust, baguettes'),
  topic(
    'stars',
    'stargazing with a telescope',
    'Saturn, a telescope, constellations, the Milky Way, meteors, the Moon',
  ),
  topic('knitting', 'knitting a woollen sweater', 'a scarf, wool yarn, purl stitches, a knitted hat, needles, mittens'),
  topic(
    'trains',
    'railway timetables and steam trains',
    'a night train, steam engines, rail passes, a signal box, platforms',
  ),
  topic('birds', 'watching birds and their songs', 'robins, bird feeders, an owl, migration, swallows, binoculars'),
  topic('piano', 'learning to play the piano', 'scales, sheet music, a sonata, piano chords, pedals, practice'),
  topic(
    'coffee',
    'brewing good coffee and espresso',
    'espresso, a French press, coffee beans, a grinder, latte art, filters',
  ),
  topic('dogs', 'training a puppy to obey', 'a puppy, leash walking, dog food, barking, a kennel, fetch'),
  topic('castles', 'medieval castles and knights', 'a moat, knights, drawbridges, a dungeon, armour, a siege tower'),
  topic('volcanoes', 'volcanoes and lava flows', 'lava, an eruption, magma, Etna, ash clouds, craters'),
  topic('weather', 'weather forecasts of rain', 'rain clouds, a storm, the forecast, barometers, fog, the wind'),
  topic('bicycles', 'repairing a bicycle', 'a flat tyre, bicycle chains, brakes, a saddle, gears, pedals'),
  topic('dinosaurs', 'dinosaurs and fossils', 'a T. rex, fossils, the Jurassic, raptors, dinosaur eggs, museums'),
  topic('grammar', 'commas and English grammar', 'commas, the past tense, an adverb, spelling, apostrophes, clauses'),
  topic(
    'camping',
    'camping in a tent in the woods',
    'a tent, campfires, sleeping bags, a lantern, hiking, marshmallows',
  ),
  topic(
    'painting',
    'painting landscapes in watercolour',
    'watercolours, a brush, landscapes, an easel, canvas, shading',
  ),
  topic(
    'algebra',
    'solving equations in algebra',
    'a quadratic, equations, fractions, a matrix, square roots, unknowns',
  ),
  topic(
    'magic',
    'performing magic tricks with cards',
    'a card trick, magic tricks, a top hat, illusions, a wand, juggling',
  ),
  topic('bees', 'keeping bees for honey', 'a hive, honey, the queen bee, pollen, beeswax, swarms'),
  topic('skiing', 'skiing down a mountain', 'skis, a ski lift, snowboards, a ski slope, goggles, powder snow'),
  topic(
    'origami',
    'folding paper into origami',
    'origami, a paper crane, folding paper, paper boats, a paper lantern, creases',
  ),
];

/** Manners of asking that a world may plant; their things are the manner's own words. */
export const PLANTABLE_STYLES: readonly Topic[] = [
  topic('limerick', 'a funny limerick that rhymes', 'a limerick, a funny rhyme, a limerick on cats, a silly verse'),
  topic('pirate', 'talking like a pirate', 'a pirate greeting, a pirate song, talk like a pirate, pirate slang'),
  topic(
    'bedtime',
    'a bedtime story for a small child',
    'a bedtime story, a lullaby, a fairy tale, a story for a toddler',
  ),
  topic('robots', 'a dialogue between two robots', 'a robot dialogue, robots, a talking machine, two androids'),
  topic(
    'letter',
    'a formal letter with a polite closing',
    'a formal letter, a cover letter, a letter of thanks, a greeting',
  ),
  topic('riddle', 'a riddle with a surprising answer', 'a riddle, a brain teaser, a puzzle, a riddle on time'),
];

/** Subjects that no world plants: most seeds are about them. */
export const COMMON_TOPICS: readonly Topic[] = [
  topic('office', 'work in an office', 'a meeting, my boss, office chairs, a long email, spreadsheets, lunch breaks'),
  topic('money', 'saving money', 'a budget, savings, a bank account, rent, my bills, a pension'),
  topic('health', 'healthy habits', 'sleep, a headache, stretching, vitamins, walking, back pain'),
  topic('school', 'school and homework', 'homework, an exam, a history essay, teachers, notes, a science project'),
  topic('phones', 'using a phone', 'my phone, a battery, apps, a screen, photos, a charger'),
  topic('cooking', 'cooking dinner', 'pasta, a soup, rice, grilled fish, a salad, leftovers'),
  topic('travel', 'travel plans', 'a passport, Rome, a hotel, cheap flights, luggage, a road trip'),
  topic('family', 'family life', 'my sister, a birthday, twins, a wedding, grandparents, a reunion'),
  topic('sports', 'sports and fitness', 'football, a marathon, tennis, the gym, swimming, a coach'),
  topic('films', 'films and series', 'a comedy, an actor, the last episode, a trailer, popcorn, subtitles'),
  topic('home', 'keeping a home', 'a leaking tap, dust, the laundry, a sofa, paint, a broken lamp'),
  topic('code', 'writing programs', 'a loop, Python, a bug, a web page, functions, a database'),
  topic('shopping', 'shopping', 'shoes, a coupon, groceries, a refund, a winter coat, a gift'),
  topic('cars', 'driving a car', 'a used car, parking, engine oil, traffic, a licence, tyres'),
  topic('history', 'history', 'the Romans, a treaty, old maps, an empire, the printing press, a queen'),
  topic('friends', 'friends and manners', 'a neighbour, an apology, small talk, a party, a roommate, a date'),
];

/** Ways to ask about a thing; `_` is its place. */
export const TEMPLATES: readonly string[] = [
  'Tell me about _.',
  'How do I start with _?',
  'What should I know about _?',
  'Can you explain _ to me?',
  'Why are people so fond of _?',
  'Give me three tips about _.',
  'I have a question about _.',
  'Write a few lines about _.',
  'What is the best way to deal with _?',
  'Please help me with _ today.',
  'Is there anything new about _?',
  'My friend keeps talking about _, why?',
];
