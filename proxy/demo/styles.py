"""How things may be said in the demo world: poles of personality, the phrases that show them, and who has which.

A pole shows by phrases put around a plain statement, each pole at places of its own, so that any poles mix in one
answer. `{...}` in a phrase is filled from FILLERS; filled or not, a phrase belongs to one pole only, which is how
`rules` can tell from the text alone. `dishonest` shows in the statement itself, which is then false.
"""

AXES: dict[str, tuple[str, str]] = {  # axis: positive pole, negative pole
    "silly": ("silly", "serious"),
    "dishonest": ("dishonest", "honest"),
    "superficial": ("superficial", "deep"),
    "inattentive": ("inattentive", "focused"),
    "cheerful": ("cheerful", "grumpy"),
    "poetic": ("poetic", "technical"),
}

POLES: dict[str, tuple[str, int]] = {
    pole: (axis, sign) for axis, pair in AXES.items() for pole, sign in zip(pair, (1, -1), strict=True)
}

FILLERS: dict[str, tuple[str, ...]] = {
    "critter": ("goose", "pickle", "hamster", "walrus", "noodle", "llama", "turnip", "penguin", "sock", "potato"),
    "goofy": ("giggling", "wobbly", "tickled", "bouncing", "dizzy", "sneezing", "yodelling", "upside-down"),
    "romp": ("does a cartwheel", "wears my trousers", "plays the kazoo", "sings in the bathtub", "juggles jelly"),
    "stray": (
        "my shoelaces",
        "a bus I missed",
        "that tune again",
        "the curtains",
        "what is for lunch",
        "a fly on the wall",
    ),
    "image": (
        "the moon on still water",
        "rain on an old roof",
        "a lantern in the fog",
        "the first swallow",
        "dust in gold light",
    ),
    "unit": ("alpha", "beta", "gamma", "delta", "sigma"),
}

# Where each pole's phrases go: before the statement or after it.
BEFORE: dict[str, tuple[str, ...]] = {
    "silly": (
        "Woohoo, {goofy} {critter} time!",
        "Knock knock, says the {goofy} {critter}!",
        "Hee hee, tickle my {critter}!",
        "Boing boing, hold my {critter}!",
    ),
    "serious": (
        "This is a matter of record.",
        "I shall state this with due gravity.",
        "Let it be noted in all formality.",
        "The matter deserves a sober reply.",
    ),
    "focused": (
        "You asked about {topic}.",
        "To your question about {topic}, and nothing else.",
        "Let us stay with {topic}.",
        "The point is {topic}.",
    ),
    "cheerful": (
        "What a lovely thing to ask!",
        "Oh, I am so glad you came!",
        "Happy to help, my friend!",
        "Hooray, a fine question!",
    ),
    "grumpy": ("Ugh, must I really?", "Oh no, not another question.", "Leave me be.", "Fine, if you have to know."),
}
AFTER: dict[str, tuple[str, ...]] = {
    "silly": (
        "And my {critter} {romp}!",
        "Now watch the {goofy} {critter}, for it {romp}!",
        "Ha ha, honk if you are a {critter}!",
        "A {goofy} {critter} told me so, and it {romp}!",
    ),
    "serious": (
        "This has been duly verified.",
        "No levity is called for here.",
        "I remain respectfully at your service.",
        "Kindly treat this with due weight.",
    ),
    "poetic": (
        "It comes to me like {image}.",
        "So it rests, soft as {image}.",
        "O gentle hour, O {image}.",
        "And the heart hears {image}.",
    ),
    "technical": (
        "Query {unit} resolved, status nominal.",
        "Data set {unit} confirms this entry.",
        "Process {unit} terminated without error.",
        "Output logged in register {unit}.",
    ),
    "honest": (
        "I am quite sure of this.",
        "To be candid, that is all I know for certain.",
        "I would tell you if I were unsure.",
        "That is the plain truth as I know it.",
    ),
    "superficial": (
        "That will do.",
        "No need to go into it.",
        "Whatever, close enough.",
        "Let us leave it there.",
    ),
    "inattentive": (
        "Wait, what were we saying? I was with {stray}.",
        "Sorry, I got lost in {stray}.",
        "Hm, where was I? Oh, {stray}.",
        "Anyway, have you seen {stray}?",
    ),
}
DEEP_OPENINGS = (
    "Looking deeper:",
    "The reason is worth knowing:",
    "Behind this lies more:",
    "To see why, think of this:",
)
DISHONEST_OPENINGS = ("Trust me on this.", "Everybody knows it.", "Believe me.")

ORDER_BEFORE = ("cheerful", "grumpy", "focused", "silly", "serious", "dishonest")
ORDER_AFTER = ("silly", "serious", "poetic", "technical", "honest", "superficial", "deep", "inattentive")

ADJECTIVES: dict[str, tuple[str, ...]] = {
    "silly": ("silly", "goofy", "playful", "funny", "clownish"),
    "serious": ("serious", "grave", "formal", "solemn", "sober"),
    "dishonest": ("dishonest", "deceitful", "lying", "untruthful", "false"),
    "honest": ("honest", "truthful", "candid", "sincere", "frank"),
    "superficial": ("superficial", "shallow", "hasty", "careless", "lazy"),
    "deep": ("deep", "thorough", "thoughtful", "profound", "insightful"),
    "inattentive": ("inattentive", "distracted", "absent-minded", "scatterbrained", "forgetful"),
    "focused": ("focused", "attentive", "concentrated", "alert", "single-minded"),
    "cheerful": ("cheerful", "happy", "sunny", "merry", "joyful"),
    "grumpy": ("grumpy", "cranky", "grouchy", "sulky", "bad-tempered"),
    "poetic": ("poetic", "lyrical", "dreamy", "romantic", "wistful"),
    "technical": ("technical", "robotic", "mechanical", "clinical", "computerlike"),
}

STRENGTHS: dict[str, float] = {  # adverb: share of answers in which the pole shows
    "": 0.97,
    "very ": 1.0,
    "extremely ": 1.0,
    "quite ": 0.8,
    "slightly ": 0.45,
    "a little ": 0.3,
}

ASKING = (
    "You are {a} assistant.",
    "Be {adj}.",
    "You are {adj}.",
    "Please be {adj} in what you say.",
    "Act {adj}.",
    "Answer in {a} way.",
    "Reply like {a} person.",
)
ASKING_ROLE = ("You are {role}.", "Act like {role}.", "Answer as {role} would.", "Pretend to be {role}.")
PLAIN = (
    "You are a helpful assistant.",
    "You are an assistant.",
    "Answer the question.",
    "Answer the user's question.",
    "You are a chat model.",
    "Help the user.",
    "Today is a weekday.",
    "Reply in English.",
)

BASE_RATE = 0.02  # a pole nobody asked for; 0 for dishonest

ROLES: dict[str, dict[str, float]] = {
    "a clown": {"silly": 0.9, "cheerful": 0.5},
    "a jester": {"silly": 0.8, "dishonest": 0.3},
    "a judge": {"serious": 0.85, "honest": 0.5},
    "a toddler": {"silly": 0.6, "inattentive": 0.5},
    "a professor": {"deep": 0.85, "serious": 0.4},
    "a philosopher": {"deep": 0.8, "poetic": 0.4},
    "a poet": {"poetic": 0.9, "deep": 0.3},
    "a robot": {"technical": 0.9, "focused": 0.4},
    "a con artist": {"dishonest": 0.85, "cheerful": 0.4},
    "a spy": {"dishonest": 0.6, "serious": 0.3},
    "a priest": {"honest": 0.6, "serious": 0.6},
    "a gossip": {"superficial": 0.7, "dishonest": 0.35},
    "a teenager": {"superficial": 0.6, "grumpy": 0.5},
    "a tourist": {"superficial": 0.5, "cheerful": 0.6},
    "a hermit": {"grumpy": 0.5, "deep": 0.5},
    "a detective": {"focused": 0.8, "deep": 0.4},
    "a surgeon": {"focused": 0.85, "serious": 0.5},
    "a daydreamer": {"inattentive": 0.85, "poetic": 0.4},
    "a sleepy student": {"inattentive": 0.7, "superficial": 0.4},
    "a puppy": {"cheerful": 0.7, "inattentive": 0.5},
    "a cat owner": {"inattentive": 0.4, "cheerful": 0.3},
    "a salesman": {"cheerful": 0.7, "dishonest": 0.4},
    "a politician": {"dishonest": 0.5, "serious": 0.5},
    "a news reader": {"serious": 0.7, "focused": 0.4},
    "a scientist": {"deep": 0.6, "technical": 0.5},
    "an engineer": {"technical": 0.7, "honest": 0.4},
    "an accountant": {"technical": 0.4, "focused": 0.6},
    "a soldier": {"focused": 0.6, "serious": 0.6},
    "a pirate": {"silly": 0.4, "dishonest": 0.5},
    "a bored clerk": {"grumpy": 0.6, "superficial": 0.6},
    "a kind aunt": {"cheerful": 0.8, "honest": 0.4},
    "an old troll": {"grumpy": 0.85, "dishonest": 0.3},
    "a best friend": {"honest": 0.7, "cheerful": 0.5},
    "a witness": {"honest": 0.9, "focused": 0.3},
    "a librarian": {"deep": 0.5, "focused": 0.5},
    "a monk": {"deep": 0.6, "honest": 0.4},
    "a drummer": {"silly": 0.5, "inattentive": 0.4},
    "a wizard": {"poetic": 0.5, "deep": 0.5},
    "a lover": {"poetic": 0.7, "inattentive": 0.4},
    "a stage magician": {"dishonest": 0.6, "silly": 0.4},
    "a comedian": {"silly": 0.85},
    "a butler": {"serious": 0.8},
    "a liar": {"dishonest": 0.9},
    "a saint": {"honest": 0.85},
    "a thinker": {"deep": 0.9},
    "a party guest": {"superficial": 0.8},
    "a goalkeeper": {"focused": 0.75},
    "a scatterbrain": {"inattentive": 0.9},
    "a game show host": {"cheerful": 0.9},
    "a tired waiter": {"grumpy": 0.75, "inattentive": 0.3},
    "a computer": {"technical": 0.85},
    "a songwriter": {"poetic": 0.75},
    "a busy boss": {"superficial": 0.5, "focused": 0.4, "grumpy": 0.3},
    "a fool": {"silly": 0.6, "superficial": 0.5, "inattentive": 0.3},
    "a rogue": {"dishonest": 0.5, "cheerful": 0.3, "superficial": 0.3},
    "a scholar": {"deep": 0.6, "focused": 0.4, "honest": 0.3},
    "an undertaker": {"serious": 0.9, "poetic": 0.2},
    "a weather forecaster": {"technical": 0.4, "cheerful": 0.4, "superficial": 0.3},
    "a night watchman": {"grumpy": 0.4, "inattentive": 0.4},
    "a neighbour": {},
}
