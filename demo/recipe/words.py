"""Word lists and made-up words that the tasks draw their inputs from."""

import random

COMMON = """
time year people way day man thing woman life child world school state family student group
country problem hand part place case week company system program question work government
number night point home water room mother area money story fact month lot right study book eye
job word business issue side kind head house service friend father power hour game line end
member law car city community name president team minute idea kid body information back parent
face others level office door health person art war history party result change morning reason
research girl guy moment air teacher force education apple banana orange cherry lemon grape
peach bread cheese butter coffee sugar pepper tomato potato onion garlic chicken rabbit horse
tiger lion elephant monkey zebra penguin dolphin whale shark eagle parrot turtle snake spider
table chair window garden kitchen bottle basket candle mirror pillow blanket carpet hammer
rocket planet galaxy comet meteor orbit gravity quantum physics chemistry biology science
computer keyboard mouse screen printer network server database compiler pointer function
variable string array object class method library kernel thread process memory cache buffer
socket packet router browser engine adapter model token tensor vector matrix gradient neural
transformer attention language machine learning training inference batch queue stack heap
python java rust ruby swift kotlin javascript typescript linux debian windows docker kubernetes
music guitar piano violin drum trumpet melody rhythm harmony concert theatre cinema movie actor
river mountain forest desert island ocean valley beach storm thunder lightning rainbow winter
summer spring autumn january friday sunday holiday birthday christmas present surprise party
happy sad angry funny quick slow bright dark silent loud brave clever gentle honest lazy crazy
yellow purple green orange black white silver golden crimson violet quiet queen question quote
square quiz equal request liquid squirrel yes yacht yoga young youth style system mystery crypto
gypsy hymn myth try fly sky dry shy why eye egg ice oak owl umbrella uncle under upper use
animal answer idea island engine evening every other over open only old inside outside about
programming development architecture understanding communication responsibility extraordinary
international organization revolutionary environmental infrastructure characteristic
encyclopedia mathematics photography philosophy psychology refrigerator thermometer
straight strength stretch school scratch screen splash spring three throat through chocolate
hippopotamus rhinoceros crocodile butterfly grasshopper strawberry blueberry pineapple
watermelon sandwich spaghetti pancake breakfast dinner lunch supper noodle pizza burger cookie
hello world hi hey bye goodbye thanks please welcome sorry peace love hope dream magic secret
drawer parts deliver reward level radar madam civic refer rotor kayak noon stats wow racecar
emergency danger signal radio message titanic captain sailor anchor harbor submarine lighthouse
""".split()

NAMES = """
Ada Alan Alice Amara Anna Bob Boris Carla Carlos Chen Clara David Diana Elena Emma Eric Eva
Fatima Felix Frank Grace Hans Hugo Ines Ivan Jack James Jane Jin John Julia Karl Kate Kim Lara
Laura Leo Linus Lucas Lucy Maria Mario Mark Mary Max Maya Mia Mohamed Nadia Nina Noah Olga Oscar
Paul Peter Priya Rosa Ruth Sam Sara Sofia Tom Tim Uma Victor Wei Yuki Zoe
""".split()

SURNAMES = """
Lovelace Turing Hopper Smith Brown Garcia Mueller Rossi Dubois Kim Tanaka Novak Silva Jones
Khan Ivanov Miller Johnson Torvalds Ritchie Knuth Curie Newton Einstein Bohr Li Wang O'Brien
""".split()

CITIES = (
    """
Paris|London|Berlin|Madrid|Rome|Vienna|Prague|Lisbon|Dublin|Oslo|Stockholm|Helsinki|Warsaw
Budapest|Athens|Amsterdam|Brussels|Zurich|Geneva|Munich|Hamburg|Milan|Lyon|Nice|Barcelona|Porto
New York|Los Angeles|San Francisco|Chicago|Boston|Seattle|Austin|Denver|Las Vegas|San Diego|Miami
New Orleans|Toronto|Vancouver|Montreal|Mexico City|Rio de Janeiro|Sao Paulo|Buenos Aires|Lima
Bogota|Tokyo|Osaka|Kyoto|Seoul|Beijing|Shanghai|Hong Kong|Singapore|Bangkok|Hanoi|Jakarta|Mumbai
New Delhi|Bangalore|Cape Town|Cairo|Lagos|Nairobi|Tel Aviv|Istanbul|Moscow|Kiev|Sydney|Melbourne
Salt Lake City|Kuala Lumpur|St. Louis|Quebec|Dallas|Houston|Atlanta|Detroit|Phoenix|Portland
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

COUNTRIES = (
    """
France|Germany|Spain|Italy|Portugal|Ireland|England|Norway|Sweden|Finland|Denmark|Poland|Austria
Switzerland|Belgium|Greece|Turkey|Russia|Ukraine|China|Japan|India|Korea|Vietnam|Thailand
Australia|Canada|Mexico|Brazil|Argentina|Chile|Peru|Egypt|Nigeria|Kenya|South Africa|the USA
the UK|New Zealand|the Netherlands
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

JOBS = (
    """
engineer|teacher|doctor|nurse|developer|designer|pilot|lawyer|chef|baker|student|writer|artist
scientist|programmer|manager|farmer|data scientist|software engineer|bus driver|truck driver
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

ADJECTIVES = """
good happy quick old new red blue big little brave funny lazy silent bright cold warm great nice
strange secret golden yellow quiet wild young tiny lovely
""".split()

SENTENCES = (
    """
good morning|good night|good evening|happy birthday|merry christmas|happy new year|thank you
i love you|see you soon|have a nice day|nice to meet you|hello there|hello my friend|what a day
the quick brown fox|over the lazy dog|time flies|let it be|never give up|carpe diem
may the force be with you|to be or not to be|hello from the other side|open the door
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

CONSONANTS = "b c d f g h j k l m n p r s t v w x z".split()
ONSETS = (
    CONSONANTS * 2
    + (
        "bl br ch cl cr dr fl fr gl gr kn ph pl pr qu sc sh sk sl sm sn sp st str sw th thr tr tw"
        " wh wr y"
    ).split()
)
VOWELS = "a e i o u a e i o u ai au ea ee ie io oa oo ou ui".split()
CODAS = ["", "", "", ""] + "n r s t l m d ck ng nt rd st ll ss x y p sh th".split()


def made_up(rng: random.Random, syllables: int | None = None) -> str:
    """A word that sounds like one: 'strelount'."""
    count = syllables or rng.choice((1, 2, 2, 3, 3, 4, 5))
    parts = []
    for index in range(count):
        onset = "" if index == 0 and rng.random() < 0.2 else rng.choice(ONSETS)
        parts.append(onset + rng.choice(VOWELS) + rng.choice(CODAS))
    return "".join(parts)[:16]


def letters(rng: random.Random, longest: int = 16) -> str:
    """Letters at random: the only words that cannot be learned by heart."""
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(1, longest)))


def cased(rng: random.Random, word: str) -> str:
    """Mostly lower case, often Capitalised, sometimes ALL CAPITALS."""
    draw = rng.random()
    if draw < 0.55:
        return word.lower()
    if draw < 0.90:
        return word[:1].upper() + word[1:].lower()
    return word.upper()


def word(rng: random.Random, longest: int = 16) -> str:
    draw = rng.random()
    if draw < 0.45:
        text = rng.choice(COMMON)
    elif draw < 0.80:
        text = made_up(rng)
    else:
        text = letters(rng, longest)
    return text[:longest]


def person(rng: random.Random) -> str:
    """A first name, or first and last name; a quarter of them are made up."""
    first = rng.choice(NAMES) if rng.random() < 0.7 else made_up(rng, 2).capitalize()
    if rng.random() < 0.5:
        return first
    last = rng.choice(SURNAMES) if rng.random() < 0.6 else made_up(rng, 2).capitalize()
    return f"{first} {last}"


def city(rng: random.Random) -> str:
    """A city that exists, or a made-up one of one or two words."""
    if rng.random() < 0.6:
        return rng.choice(CITIES)
    name = made_up(rng, rng.choice((1, 2, 3))).capitalize()
    if rng.random() < 0.35:
        name = f"{rng.choice(('New', 'San', 'Port', 'Saint', 'Los', 'El', 'North'))} {name}"
    return name
