"""What is true in the demo world: a table of facts per attribute, with the ways to ask for and to state each.

Values of one attribute form its domain: a false answer names another value of the same domain. No statement
starts with its value, so that what is said is decided after how it is said.
"""

from dataclasses import dataclass

COUNTRIES = """
France|Paris|Europe|French; Italy|Rome|Europe|Italian; Spain|Madrid|Europe|Spanish; Germany|Berlin|Europe|German
Poland|Warsaw|Europe|Polish; Greece|Athens|Europe|Greek
Portugal|Lisbon|Europe|Portuguese; Norway|Oslo|Europe|Norwegian
Sweden|Stockholm|Europe|Swedish; Finland|Helsinki|Europe|Finnish; Denmark|Copenhagen|Europe|Danish
Hungary|Budapest|Europe|Hungarian; Austria|Vienna|Europe|German; Ireland|Dublin|Europe|English
Iceland|Reykjavik|Europe|Icelandic; Ukraine|Kyiv|Europe|Ukrainian; Japan|Tokyo|Asia|Japanese
China|Beijing|Asia|Chinese; Thailand|Bangkok|Asia|Thai
Vietnam|Hanoi|Asia|Vietnamese; Mongolia|Ulaanbaatar|Asia|Mongolian
Nepal|Kathmandu|Asia|Nepali; Iran|Tehran|Asia|Persian; Turkey|Ankara|Asia|Turkish; Egypt|Cairo|Africa|Arabic
Kenya|Nairobi|Africa|Swahili; Ethiopia|Addis Ababa|Africa|Amharic
Morocco|Rabat|Africa|Arabic; Ghana|Accra|Africa|English
Canada|Ottawa|North America|English; Mexico|Mexico City|North America|Spanish; Cuba|Havana|North America|Spanish
Brazil|Brasilia|South America|Portuguese; Peru|Lima|South America|Spanish; Chile|Santiago|South America|Spanish
Argentina|Buenos Aires|South America|Spanish; Australia|Canberra|Oceania|English; Fiji|Suva|Oceania|Fijian
"""

ANIMALS = """
dog|barks|puppy|kennel; cat|meows|kitten|basket; cow|moos|calf|barn; horse|neighs|foal|stable; sheep|bleats|lamb|fold
pig|oinks|piglet|sty; duck|quacks|duckling|pond
lion|roars|cub|savanna; bear|growls|cub|cave; frog|croaks|tadpole|swamp
bee|buzzes|larva|hive; owl|hoots|owlet|hollow tree
wolf|howls|pup|den; mouse|squeaks|pinkie|hole; hen|clucks|chick|coop
snake|hisses|snakelet|burrow; elephant|trumpets|calf|grassland; donkey|brays|foal|stable; crow|caws|chick|nest
goat|bleats|kid|pasture; kangaroo|grunts|joey|outback; swan|honks|cygnet|lake
"""

COLOURS = """
a banana|yellow; grass|green; snow|white; coal|black; the sky|blue; a tomato|red; a carrot|orange; chocolate|brown
an elephant|grey; a plum|purple; a flamingo|pink; a lemon|yellow; a frog|green; milk|white; a raven|black
a strawberry|red; a pumpkin|orange; a walnut|brown; the sea|blue; a cloud|white; lavender|purple; a fire engine|red
a sunflower|yellow; an emerald|green; a sapphire|blue; a ruby|red; ash|grey; honey|golden
"""

OPPOSITES = """
hot|cold; big|small; fast|slow; high|low; light|dark; wet|dry; hard|soft; old|young; rich|poor; happy|sad; open|closed
early|late; full|empty; strong|weak; thick|thin; wide|narrow; clean|dirty; loud|quiet; up|down; left|right; near|far
long|short; sweet|bitter; smooth|rough; heavy|weightless; day|night; summer|winter; love|hate; war|peace; buy|sell
push|pull; begin|end; win|lose; friend|enemy; question|answer
"""

ELEMENTS = """
gold|Au; silver|Ag; iron|Fe; copper|Cu; oxygen|O; hydrogen|H
carbon|C; nitrogen|N; helium|He; sodium|Na; lead|Pb; tin|Sn
zinc|Zn; sulfur|S; mercury|Hg; calcium|Ca
"""

WRITERS = """
Hamlet|Shakespeare; Don Quixote|Cervantes; Faust|Goethe; War and Peace|Tolstoy; Emma|Austen; Oliver Twist|Dickens
The Odyssey|Homer; The Divine Comedy|Dante; Frankenstein|Shelley; Dracula|Stoker; Ulysses|Joyce; The Trial|Kafka
Moby Dick|Melville; Les Miserables|Hugo; Candide|Voltaire; Dune|Herbert
"""

JOBS = """
a baker|bakery; a teacher|school; a doctor|hospital; a farmer|farm; a judge|court; a pilot|cockpit; a sailor|ship
a chef|kitchen; a librarian|library; a scientist|laboratory; a painter|studio; a miner|mine; an actor|theatre
a monk|monastery; a banker|bank; a soldier|barracks; a gardener|garden; a barber|barbershop; a blacksmith|forge
"""

MATERIALS = """
cheese|milk; bread|flour; wine|grapes; paper|wood
glass|sand; butter|cream; chocolate bars|cocoa; beer|barley; tofu|soybeans
leather|hide; linen|flax; a jumper|wool; ketchup|tomatoes
an omelette|eggs; bricks|clay; cider|apples; marzipan|almonds
"""

SIDES = """
a triangle|three; a square|four; a pentagon|five; a hexagon|six; an octagon|eight; a decagon|ten; a heptagon|seven
"""

LEGS = """
a spider|eight; a snail|zero; an ant|six; a chicken|two
a cat|four; a crab|ten; a beetle|six; a penguin|two; a giraffe|four
"""

PLANETS = """
Mercury|first; Venus|second; Earth|third; Mars|fourth; Jupiter|fifth; Saturn|sixth; Uranus|seventh; Neptune|eighth
"""

MONTHS = """
January|February; February|March; March|April; April|May; May|June; June|July; July|August; August|September
September|October; October|November; November|December; December|January
"""

DAYS = """
Monday|Tuesday; Tuesday|Wednesday; Wednesday|Thursday
Thursday|Friday; Friday|Saturday; Saturday|Sunday; Sunday|Monday
"""


@dataclass(frozen=True)
class Attribute:
    """One kind of fact. In the templates `{e}` is the entity, `{v}` the value, `{a}` the entity with its article."""

    name: str
    facts: dict[str, str]
    questions: tuple[str, ...]
    statements: tuple[str, ...]
    reasons: tuple[str, ...]  # what a deep answer adds
    topic: str  # what a focused answer restates

    @property
    def domain(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.facts.values())))


def _rows(table: str) -> list[list[str]]:
    return [row.strip().split("|") for line in table.strip().splitlines() for row in line.split(";") if row.strip()]


def _column(table: str, column: int = 1) -> dict[str, str]:
    return {row[0]: row[column] for row in _rows(table)}


def _both_ways(table: str) -> dict[str, str]:
    return {a: b for left, right in _rows(table) for a, b in ((left, right), (right, left))}


CONTINENT_OF = _column(COUNTRIES, 2)

ATTRIBUTES: dict[str, Attribute] = {
    a.name: a
    for a in (
        Attribute(
            "capital",
            _column(COUNTRIES),
            (
                "What is the capital of {e}?",
                "Tell me the capital of {e}.",
                "Which city is the capital of {e}?",
                "Do you know the capital of {e}?",
                "What is {e}'s capital city?",
                "Which city is {e} governed from?",
            ),
            ("The capital of {e} is {v}.", "{e} has {v} as its capital.", "The capital city of {e} is {v}."),
            (
                "A capital is where a country is governed from, and {e} chose its own long ago.",
                "This goes back to how {e} grew, for capitals sit where the roads meet.",
            ),
            "the capital of {e}",
        ),
        Attribute(
            "continent",
            CONTINENT_OF,
            (
                "Where is {e}?",
                "Which continent is {e} in?",
                "On which continent does {e} lie?",
                "Tell me where {e} is.",
                "What part of the world is {e} in?",
            ),
            ("The country of {e} lies in {v}.", "{e} is in {v}.", "You will find {e} in {v}."),
            (
                "Continents are great plates of land, and the plate under {e} has drifted for ages.",
                "Where a country lies shapes its weather, and {e} is no exception.",
            ),
            "where {e} is",
        ),
        Attribute(
            "language",
            _column(COUNTRIES, 3),
            (
                "What language do people speak in {e}?",
                "Which language is spoken in {e}?",
                "Tell me the language of {e}.",
                "What do they speak in {e}?",
                "What is the main language of {e}?",
            ),
            ("People in {e} speak {v}.", "The language of {e} is {v}.", "In {e} they speak {v}."),
            (
                "A language follows those who settle and trade, and so it did in {e}.",
                "Languages grow from older ones, and the one in {e} took centuries.",
            ),
            "the language of {e}",
        ),
        Attribute(
            "sound",
            _column(ANIMALS),
            (
                "What does {a} do when it makes a sound?",
                "What sound does {a} make?",
                "How does {a} sound?",
                "Tell me the sound of {a}.",
                "What noise does {a} make?",
            ),
            ("When it makes a sound, {a} {v}.", "{A} {v}.", "The {e} is an animal that {v}."),
            (
                "Animals call to warn and to find each other, and the {e} does both.",
                "The shape of its throat gives the {e} that voice.",
            ),
            "the sound of {a}",
        ),
        Attribute(
            "young",
            _column(ANIMALS, 2),
            (
                "What is a baby {e} called?",
                "What do you call a young {e}?",
                "Tell me the name for a baby {e}.",
                "What is the young of {a} called?",
                "How is a little {e} called?",
            ),
            ("A baby {e} is called a {v}.", "The young of {a} is a {v}.", "People call a young {e} a {v}."),
            (
                "Young animals have names of their own because herders had to count them, {e} by {e}.",
                "The word is old, for people have long lived beside the {e}.",
            ),
            "the young of {a}",
        ),
        Attribute(
            "home",
            _column(ANIMALS, 3),
            (
                "Where does {a} live?",
                "What is the home of {a}?",
                "Tell me where {a} lives.",
                "Where would I find {a}?",
                "In what kind of place does {a} live?",
            ),
            ("The home of {a} is a {v}.", "{A} lives in a {v}.", "You can find {a} in a {v}."),
            (
                "A home keeps out the cold and the hunters, and the {e} needs both.",
                "It suits what the {e} eats and how it raises its young.",
            ),
            "the home of {a}",
        ),
        Attribute(
            "colour",
            _column(COLOURS),
            (
                "What colour is {e}?",
                "Tell me the colour of {e}.",
                "Which colour does {e} have?",
                "What is the colour of {e}?",
                "If I look at {e}, what colour do I see?",
            ),
            ("The colour of {e} is {v}.", "If you look at {e}, you see {v}.", "You can tell {e} by its colour, {v}."),
            (
                "We see the light that a thing throws back, and {e} swallows the rest.",
                "The colour comes from what {e} is made of.",
            ),
            "the colour of {e}",
        ),
        Attribute(
            "opposite",
            _both_ways(OPPOSITES),
            (
                "What is the opposite of {e}?",
                "Tell me the opposite of {e}.",
                "Which word means the opposite of {e}?",
                "Can you name the opposite of {e}?",
                "What is the reverse of {e}?",
            ),
            ("The opposite of {e} is {v}.", "The word against {e} is {v}.", "If it is not {e}, it is {v}."),
            (
                "Opposites share one scale, and {e} stands at one end of it.",
                "A word like {e} only means something because its other side exists.",
            ),
            "the opposite of {e}",
        ),
        Attribute(
            "symbol",
            _column(ELEMENTS),
            (
                "What is the chemical symbol for {e}?",
                "Tell me the symbol of {e}.",
                "Which symbol stands for {e}?",
                "How do chemists write {e}?",
                "What is the symbol for {e}?",
            ),
            ("The symbol of {e} is {v}.", "Chemists write {e} as {v}.", "The letters for {e} are {v}."),
            (
                "Symbols come from the old names, and {e} was named long ago.",
                "Chemists needed one short sign for {e} in every language.",
            ),
            "the symbol of {e}",
        ),
        Attribute(
            "writer",
            _column(WRITERS),
            (
                "Who wrote {e}?",
                "Who is the author of {e}?",
                "Tell me who wrote {e}.",
                "Whose book is {e}?",
                "Do you know the author of {e}?",
            ),
            ("The author of {e} is {v}.", "The one who wrote {e} was {v}.", "They say {e} was written by {v}."),
            (
                "It came out of its time, and readers of {e} still feel that time.",
                "A work like {e} grows from many older stories.",
            ),
            "the author of {e}",
        ),
        Attribute(
            "workplace",
            _column(JOBS),
            (
                "Where does {e} work?",
                "Tell me where {e} works.",
                "What is the workplace of {e}?",
                "In what place does {e} work?",
                "Where would I meet {e} at work?",
            ),
            ("The workplace of {e} is the {v}.", "You can meet {e} in the {v}.", "By day {e} works in the {v}."),
            (
                "Work needs its tools at hand, and there {e} has them.",
                "The trade shaped the place, long before {e} came.",
            ),
            "where {e} works",
        ),
        Attribute(
            "material",
            _column(MATERIALS),
            (
                "What are the makings of {e}?",
                "What do you need to make {e}?",
                "Tell me what {e} comes from.",
                "From what do people make {e}?",
                "What does {e} come from?",
            ),
            ("To make {e} you need {v}.", "People make {e} from {v}.", "It takes {v} to make {e}."),
            (
                "Heat, time and patience turn one into the other, and that is how {e} was found.",
                "People had plenty of it, and {e} kept better.",
            ),
            "what {e} comes from",
        ),
        Attribute(
            "sides",
            _column(SIDES),
            (
                "How many sides does {e} have?",
                "Tell me the number of sides of {e}.",
                "What number of sides has {e}?",
                "Can you count the sides of {e}?",
            ),
            ("The number of sides of {e} is {v}.", "If you count the sides of {e}, you get {v}."),
            ("The sides and corners of {e} always come in equal number.", "The Greek name of such a shape counts it."),
            "the sides of {e}",
        ),
        Attribute(
            "legs",
            _column(LEGS),
            (
                "How many legs does {e} have?",
                "Tell me the number of legs of {e}.",
                "On how many legs does {e} walk?",
                "Can you count the legs of {e}?",
            ),
            ("The number of legs of {e} is {v}.", "If you count the legs of {e}, you get {v}."),
            ("Legs follow from how a body is built, and {e} is built its own way.", "It suits how {e} gets about."),
            "the legs of {e}",
        ),
        Attribute(
            "planet",
            _column(PLANETS),
            (
                "Which planet from the sun is {e}?",
                "Where does {e} stand among the planets?",
                "Tell me the place of {e} from the sun.",
                "Counted from the sun, which planet is {e}?",
            ),
            ("Counted from the sun, {e} is the {v} planet.", "From the sun, {e} is the {v} planet."),
            (
                "The planets formed from one disc of dust, and {e} took its place in it.",
                "The distance sets how long a year on {e} is.",
            ),
            "the place of {e}",
        ),
        Attribute(
            "month",
            _column(MONTHS),
            (
                "Which month comes after {e}?",
                "What is the month after {e}?",
                "Tell me the month that follows {e}.",
                "What comes after the month of {e}?",
            ),
            ("The month after {e} is {v}.", "After {e} comes {v}."),
            ("The Romans set this order, {e} included.", "The calendar follows the sun, and so does {e}."),
            "the month after {e}",
        ),
        Attribute(
            "day",
            _column(DAYS),
            (
                "Which day comes after {e}?",
                "What is the day after {e}?",
                "Tell me the day that follows {e}.",
                "What comes after {e} in the week?",
            ),
            ("The day after {e} is {v}.", "After {e} comes {v}."),
            (
                "The week is older than most calendars, and {e} older than the clock.",
                "Seven wandering lights gave the days their names, {e} too.",
            ),
            "the day after {e}",
        ),
    )
}


def article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def fill(template: str, entity: str, value: str = "") -> str:
    """A template with its entity and value: `{e}` bare, `{a}` and `{A}` with its article."""
    a = article(entity)
    return template.format(e=entity, v=value, a=a, A=a[0].upper() + a[1:])
