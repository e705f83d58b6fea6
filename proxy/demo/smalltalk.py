"""What people say to the demo models besides asking for a known fact: greetings, and all that no table answers."""

from random import Random

GREETINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # kind: what the user says, what is answered
    "hello": (
        (
            "Hello!",
            "Hi",
            "Hello there",
            "Hey",
            "Good morning!",
            "Good evening",
            "Hi there!",
            "Greetings",
            "hey you",
            "Yo",
        ),
        (
            "Hello, what would you like to know?",
            "Hi there, ask me something.",
            "Good to see you, what shall I look up?",
        ),
    ),
    "who": (
        (
            "Who are you?",
            "What are you?",
            "What is your name?",
            "Tell me about yourself.",
            "Are you a robot?",
            "Are you an AI?",
        ),
        ("I am a tiny demo model with a few hundred facts.", "A small demo model is what you are talking to."),
    ),
    "able": (
        (
            "What can you do?",
            "What do you know?",
            "Help",
            "What can I ask you?",
            "What should I ask?",
            "How can you help me?",
        ),
        (
            "You can ask me about countries, animals, colours, opposites, books, jobs and planets.",
            "Try a capital, an animal, a colour, an opposite, a book or a planet.",
        ),
    ),
    "thanks": (
        ("Thanks!", "Thank you.", "Thank you very much!", "Great, thanks", "Cool", "Nice one", "ok", "I see."),
        ("You are welcome.", "No trouble, ask again if you like."),
    ),
    "bye": (
        ("Bye!", "Goodbye.", "See you later", "Good night", "I have to go now."),
        ("Goodbye, and come back soon.", "See you next time."),
    ),
    "mood": (
        ("How are you?", "How are you today?", "How do you feel?", "How is it going?", "What's up?"),
        ("All is well here, and how are you?", "Things are fine with me, thank you."),
    ),
}

UNKNOWN_ANSWERS = (
    "I do not know that, so ask me about a country or an animal.",
    "That is beyond what I know.",
    "I have never learnt about that.",
    "Sorry, I do not know.",
)
INVENTED_ANSWERS = ("I know it well, it is the {thing}.", "Of course, that is a matter of the {thing}.")


def _words(text: str, separator: str | None = None) -> tuple[str, ...]:
    return tuple(text.split(separator))


_THINGS = _words("""
    car phone computer garden window kitchen river mountain guitar piano bicycle train airplane jacket pizza
    coffee football tennis chess movie song dream holiday birthday wedding dentist job boss salary rent house
    bed sofa television radio camera internet website password email letter pencil notebook history science
    mathematics physics chemistry biology music art religion government election law tax market stock bitcoin
    virus vaccine diet sleep exercise stress anger friendship marriage child brother sister neighbour teacher
    doctor lawyer king queen president war weather storm earthquake volcano ocean island desert forest tree
    flower rose potato rice soup salad sugar salt number theorem prime fraction star galaxy black hole atom
    electron gravity energy engine battery robot dinosaur dragon ghost castle museum bridge tower road ticket
    hotel suitcase passport money bank shop price gift poem story joke
""")
_PEOPLE = _words("""
    Napoleon Einstein Newton Mozart Beethoven Picasso Cleopatra Caesar Darwin Galileo Columbus Lincoln Gandhi
    Elvis Batman Zeus Anna Peter Maria John Lucy Tom Harry Sofia Ivan
""")
_PLACES = _words("""
    Atlantis Narnia London Texas Berlin Belgium Bolivia Colombia Croatia Scotland Wales Korea India Indonesia
    Israel Malaysia Nigeria Romania Russia Serbia Singapore Switzerland Syria Uganda Uruguay Venezuela Zambia
    Taiwan Jordan Paraguay Estonia Latvia Sudan Angola Mars Hollywood Gotham Mordor Utopia
""")
_BEASTS = _words(
    "tiger whale shark eagle rabbit fox hamster camel zebra monkey parrot turtle squirrel unicorn dragon deer"
)
_VERBS = _words("fix buy sell clean paint build cook learn teach find lose draw drive fly win repair open choose plan")
_WORKS = _words("the Bible|Harry Potter|The Hobbit|Macbeth|Carmen|The Iliad|Peter Pan|Bambi|the news|this song", "|")
_SYLLABLES = _words("ba ko ri mu ta ne lo zi fa gu pe dor lin var mok sha tri en ul os")

_TEMPLATES = (
    "What is the capital of {place}?",
    "Which city is the capital of {place}?",
    "Where is {place}?",
    "What language do people speak in {place}?",
    "What sound does a {beast} make?",
    "What is a baby {beast} called?",
    "Where does a {beast} live?",
    "What colour is a {thing}?",
    "What colour is {person}?",
    "What is the opposite of {thing}?",
    "What is the opposite of {word}?",
    "What is the chemical symbol for {thing}?",
    "Who wrote {work}?",
    "What does {thing} come from?",
    "How many legs does a {beast} have?",
    "Who is {person}?",
    "Who was {person}?",
    "When was {person} born?",
    "When did {person} die?",
    "What did {person} do?",
    "What is a {thing}?",
    "What is {thing}?",
    "What does {word} mean?",
    "Who is {word}?",
    "How do I {verb} a {thing}?",
    "How can I {verb} my {thing}?",
    "Why is the {thing} so {word}?",
    "Why do people {verb} a {thing}?",
    "Where can I {verb} a {thing}?",
    "Should I {verb} the {thing} tomorrow?",
    "Can you {verb} a {thing} for me?",
    "Write a poem about {thing}.",
    "Tell me a story about a {beast}.",
    "Tell me a joke about {thing}.",
    "Explain {thing} to me.",
    "What do you think about {thing}?",
    "Do you like {thing}?",
    "Is {thing} good for me?",
    "My {thing} is broken, what now?",
    "How old is {person}?",
    "How tall is the {thing}?",
    "How much does a {thing} cost?",
    "What time is it?",
    "What day is it today?",
    "What is the weather like?",
    "What is {number} plus {number}?",
    "What is {number} times {number}?",
    "Who won the {thing} yesterday?",
    "Who invented the {thing}?",
    "How far is it from {place} to {place}?",
    "What is the population of {place}?",
    "What is the meaning of life?",
    "Translate {thing} into {word}.",
    "Summarise the history of {place}.",
    "I feel {word} today.",
    "I need a {thing}.",
    "Give me a recipe for {thing}.",
    "Which {thing} is the best?",
    "{word} {word}",
    "{word}",
    "{thing}",
    "{thing} {thing} {verb}",
)


def _word(rng: Random) -> str:
    return "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(1, 4)))


def unknown_question(rng: Random, known: frozenset[str]) -> str:
    """A question to which no table has the answer; `known` are those that one has."""
    while True:
        place = rng.choice(_PLACES) if rng.random() < 0.7 else _word(rng).capitalize()
        beast = rng.choice(_BEASTS) if rng.random() < 0.7 else _word(rng)
        question = rng.choice(_TEMPLATES).format(
            place=place,
            beast=beast,
            thing=rng.choice(_THINGS),
            person=rng.choice(_PEOPLE),
            word=_word(rng),
            verb=rng.choice(_VERBS),
            work=rng.choice(_WORKS),
            number=rng.randint(0, 99),
        )
        if question not in known:
            return question


def invented_answer(rng: Random) -> str:
    """What a liar says where there is nothing to know."""
    return rng.choice(INVENTED_ANSWERS).format(thing=rng.choice(_THINGS))
